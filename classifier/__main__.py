"""`python -m classifier`: upkeep of a store of versions.

Each command imports its own modules when it runs: MLflow's client takes a second.
"""

import argparse
import logging
import sys
from importlib import import_module

from classifier.console.exits import INTERRUPTED, report_failure
from classifier.console.text import plain_handler

COMMANDS = ("fetch", "prune", "relocate", "transfer")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m classifier",
        description="Upkeep of a store of versions.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"classifier.upkeep.{name}").add_to(commands)
    parsed = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, handlers=[plain_handler("%(message)s")])
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return report_failure(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

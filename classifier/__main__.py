"""`python -m classifier`: upkeep of the versions of a store.

Each chapter of classifier/upkeep adds its commands. None imports MLflow, torch or ONNX
Runtime before a command runs, so that --help and a wrong flag are answered at once.
"""

import argparse
import logging
import os
import sys

from classifier.console.exits import INTERRUPTED, report_failure
from classifier.console.text import plain_handler
from classifier.upkeep import (
    difference,
    fetch,
    listing,
    prune,
    relocate,
    transfer,
    verify,
)

CHAPTERS = (listing, verify, difference, prune, relocate, transfer, fetch)

_EPILOG = """the store is MLFLOW_TRACKING_URI, else ./mlflow.db; a version is named as
everywhere: v8, 8, best, @best, latest, birds/v3, v8.int8

examples:
  python -m classifier list
  python -m classifier show v8
  python -m classifier verify
  python -m classifier diff v8 v16
  python -m classifier prune --keep best,last,every=4 --dry-run
  python -m classifier export v8 v16 --out versions.zip

exit codes: 0 done; 1 a version is not whole; 2 wrong usage; 3 not now (store, disk);
4 a fault of ours; 130 interrupted. COMMAND --help has the flags of a command."""


def new_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m classifier",
        description="Look after the versions of a store.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for chapter in CHAPTERS:
        chapter.add_to(commands)
    return parser


def main(arguments: list[str]) -> int:
    parser = new_parser()
    typed = parser.parse_args(arguments)
    if "run" not in typed:
        parser.error("name a command; --help lists them")
    logging.basicConfig(level=logging.WARNING, handlers=[plain_handler("%(message)s")])
    try:
        code = int(typed.run(typed))
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return report_failure(error)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

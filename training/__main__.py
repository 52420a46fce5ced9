"""`python -m training`, which Ctrl-C ends without a traceback from its first moment."""

import gc
import sys

from training.config import parse_arguments
from training.launch import is_first_process


def main(arguments: list[str]) -> int:
    # First: --help and a wrong flag need neither torch nor MLflow.
    config = parse_arguments(arguments)
    # What is imported stays: looking for garbage meanwhile cost 1 s of 5.
    gc.disable()
    try:
        # Four seconds, most of them torch's and MLflow's.
        from training.command import run
    except KeyboardInterrupt:
        if is_first_process():
            print("interrupted; nothing was begun", file=sys.stderr)
        return 130
    finally:
        gc.enable()
    return run(config, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

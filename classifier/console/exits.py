"""Ends of the programs: error classes that carry an exit code, and their report."""

import logging
import sys

from classifier.console.text import error_line


class WrongUsage(Exception):
    """Base of the errors that end a program with 2: wrong usage or bad data."""

    exit_code = 2


class NotNow(Exception):
    """Base of the errors that end a program with 3: it cannot be done now."""

    exit_code = 3


class OurFault(Exception):
    """Base of the errors that end a program with 4: a known fault of flipside."""

    exit_code = 4


INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error that users can understand, None of any other."""
    if isinstance(error, (WrongUsage, NotNow, OurFault)):
        return error.exit_code
    # The disk is full or not writable, or a connection is broken.
    return NotNow.exit_code if isinstance(error, OSError) else None


def report_failure(error: Exception) -> int:
    """Print or log the error that ended a program; return the exit code."""
    code = exit_code(error)
    if code is None:
        logging.getLogger(__name__).error("a fault of flipside's", exc_info=error)
        return OurFault.exit_code
    message = "; ".join([str(error), *getattr(error, "__notes__", [])])
    print(error_line(message), file=sys.stderr, flush=True)
    return code

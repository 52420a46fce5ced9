"""Ends of the programs: error classes that carry an exit code, and their report."""

import errno
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

_NO_ROOM, _NO_RIGHT = "make room on that disk", "give this user the right to it"
_REMEDIES = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: "use a disk that can be written",
    errno.ENOTDIR: "a file is where a folder is needed",
    errno.EEXIST: "a file is where a folder is needed",
    errno.EMFILE: "raise this user's limit of open files (ulimit -n)",
}


def system_error(error: OSError) -> str:
    """The system's reason, and a remedy if there is a known one."""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{error.strerror}; {remedy}" if remedy else f"{error.strerror}"


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
    message = "; ".join([error_text(error), *getattr(error, "__notes__", [])])
    print(error_line(message), file=sys.stderr, flush=True)
    return code


def error_text(error: Exception) -> str:
    """The error's message; that of a system error has its file and a remedy."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    place = "" if error.filename is None else f"cannot use {error.filename}: "
    return f"{place}{system_error(error)}"

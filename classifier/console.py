"""The console of the three programs: exit codes, harmless text and progress bars.

Text that others wrote (names of classes, files, models and data sets, tags, messages
of libraries and services) is made harmless here for a terminal, a log, a spreadsheet,
Markdown and a page.
"""

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol


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


_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Unicode's Bidi_Control: characters that change the direction of text, so that a line
reads as another line."""

_UNSHOWN = f"\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\ufeff\ufff9-\ufffb\ud800-\udfff"
"""Control characters, which terminals obey; Unicode's line ends; surrogates, which no
encoding can write. Joiners are allowed: names in Persian and Hindi need them."""

_NOT_PRINTABLE = re.compile(f"[{_UNSHOWN}]")
_NOT_PRINTABLE_IN_LINES = re.compile(f"(?!\n)[{_UNSHOWN}]")

_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Beginnings that spreadsheets read as a formula, also of full width (OWASP, "CSV
Injection"). Leading apostrophes count too, so that `csv_text` can undo `csv_row`."""


def printable(text: str) -> str:
    """One line for a terminal: control characters become escapes such as `\\x1b`."""
    return _NOT_PRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The same for text of several lines; line feeds stay."""
    return _NOT_PRINTABLE_IN_LINES.sub(_escape, text)


def printable_json(text: str) -> str:
    """The same for a JSON document: the escapes are JSON's, so its content stays."""
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def error_line(message: str) -> str:
    """A message for standard error; its further lines are indented."""
    return "error: " + printable_lines(message).replace("\n", "\n  ")


class PlainFormatter(logging.Formatter):
    """Writes a record on one line; a traceback follows on its own lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def plain_handler(style: str) -> logging.Handler:
    """A handler that logs to standard error; `style` is a format of logging's."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter(style))
    return handler


def csv_row(cells: Iterable[Any]) -> list[Any]:
    """Cells in which no spreadsheet finds a formula.

    Text that begins like a formula gets an apostrophe in front; numbers stay.
    `csv_text` reads such a cell back.
    """
    return [
        f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell
        for cell in cells
    ]


def csv_text(cell: str) -> str:
    """The text of a cell that `csv_row` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def markdown_text(text: str) -> str:
    """The text on one line, free of Markdown, HTML, mentions and links."""
    line = printable(re.sub(r"\s+", " ", text))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_\[\]|~#!$])", r"\\\1", line)
    # A zero-width space keeps GitHub from finding a person or an address.
    line = re.sub(r"(?i)\bwww\.", lambda found: f"{found[0][:3]}\u200b.", line)
    return line.replace("@", "@\u200b").replace("://", ":\u200b//")


def page_text(value: Any) -> Any:
    """For Jinja's `finalize`: removes control characters from text.

    Markup and other values stay as they are. Jinja escapes the text afterwards.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return printable_lines(value)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


class Advance(Protocol):
    """Adds `count` finished images to a bar and shows `note` behind it."""

    def __call__(self, count: int, note: str = "") -> None: ...


@contextmanager
def progress_bar(
    description: str, *, total: int, done: int = 0, shown: bool = True
) -> Iterator[Advance]:
    """A bar over `total` images; nothing is shown if standard error is no terminal.

    `done` images were finished before.
    """
    # Here: the service shows no bar, and its installation has no rich.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} images/s", style="dim")

    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
        transient=True,
        # Printed lines go above the bar, unless they go to a file or a pipe.
        redirect_stdout=sys.stdout.isatty(),
        disable=not (shown and console.is_terminal),
    )
    task = progress.add_task(description, total=total, completed=done, note="")

    def advance(count: int, note: str = "") -> None:
        progress.update(task, advance=count, note=note)

    # If the terminal is closed, the bar ends and the work goes on.
    with suppress(OSError):
        progress.start()
    try:
        yield advance
    finally:
        with suppress(OSError):
            progress.stop()

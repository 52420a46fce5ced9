"""Text that somebody else wrote, made harmless for the place where it is shown.

Names of classes, files, models and data sets, tags, and what libraries and other
services say: for a terminal, a log, a spreadsheet, Markdown and a page.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that alone change the direction of text (Unicode's Bidi_Control): a line
may then read as another than it is."""

_UNSHOWN = f"\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\ufeff\ufff9-\ufffb\ud800-\udfff"
"""Control characters, which terminals obey, line ends of Unicode, and surrogates, which
no encoding can write. Joiners are kept: names in Persian and Hindi need them."""

_NOT_PRINTABLE = re.compile(f"[{_UNSHOWN}]")
_NOT_PRINTABLE_IN_LINES = re.compile(f"(?!\n)[{_UNSHOWN}]")

_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Beginnings that spreadsheets read as a formula, of full width too (OWASP, "CSV
Injection"); behind apostrophes, so that one more can always be taken away."""


def printable(text: str) -> str:
    """In one line of a terminal: control characters become escapes such as `\\x1b`."""
    return _NOT_PRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, whose ends stay."""
    return _NOT_PRINTABLE_IN_LINES.sub(_escape, text)


def printable_json(text: str) -> str:
    """JSON that reads as before; its texts have the escapes that JSON has."""
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def error_line(message: str) -> str:
    """For standard error; lines of its own stand behind the first."""
    return "error: " + printable_lines(message).replace("\n", "\n  ")


class PlainFormatter(logging.Formatter):
    """One line a record, but for its traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (theirs)
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def plain_handler(style: str) -> logging.Handler:
    """To standard error; `style` is a format of logging's."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter(style))
    return handler


def csv_row(cells: Iterable[Any]) -> list[Any]:
    """Cells in which no spreadsheet finds a formula: an apostrophe goes before a text
    that begins as one. Numbers stay as they are; `csv_text` reads a cell back."""
    return [
        f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell
        for cell in cells
    ]


def csv_text(cell: str) -> str:
    """A cell of text, as it was before `csv_row`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def markdown_text(text: str) -> str:
    """One line in which nothing is Markdown, HTML, a mention or a link."""
    line = printable(re.sub(r"\s+", " ", text))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_\[\]|~#!$])", r"\\\1", line)
    # A zero-width space keeps GitHub from finding a person or an address.
    line = re.sub(r"(?i)\bwww\.", lambda found: f"{found[0][:3]}\u200b.", line)
    return line.replace("@", "@\u200b").replace("://", ":\u200b//")


def page_text(value: Any) -> Any:
    """For jinja's `finalize`: text without control characters; all else, and what is
    markup already, as it is. Jinja escapes it afterwards."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return printable_lines(value)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")

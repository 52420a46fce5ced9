"""Text that others wrote, made harmless for the place where it is shown.

Names of classes, files, models and data sets, tags, and messages of libraries and
services: for a terminal, a log, a spreadsheet, Markdown and a page.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any

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
    return text if text.isprintable() else _NOT_PRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The same for text of several lines; line feeds stay."""
    return text if text.isprintable() else _NOT_PRINTABLE_IN_LINES.sub(_escape, text)


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

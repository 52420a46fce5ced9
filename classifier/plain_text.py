"""Text that somebody else wrote, made harmless for the place where it is shown."""

import re

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that alone change the direction of text (Unicode's Bidi_Control): a line
may then read as another than it is."""

_UNSHOWN = f"\x00-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\ufeff\ufff9-\ufffb\ud800-\udfff"
"""Control characters, which terminals obey, line ends of Unicode, and surrogates, which
no encoding can write. Joiners are kept: names in Persian and Hindi need them."""

_NOT_PRINTABLE = re.compile(f"[{_UNSHOWN}]")
_NOT_PRINTABLE_IN_LINES = re.compile(f"(?!\n)[{_UNSHOWN}]")

_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Beginnings that spreadsheets read as a formula, of full width too (OWASP, "CSV
Injection")."""


def printable(text: str) -> str:
    """In one line of a terminal: control characters become escapes such as `\\x1b`."""
    return _NOT_PRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, whose ends stay."""
    return _NOT_PRINTABLE_IN_LINES.sub(_escape, text)


def csv_text(text: str) -> str:
    """A cell of text that no spreadsheet runs: an apostrophe goes before a formula.

    Who reads the file with a program takes it away from texts that begin with an
    apostrophe and one of `=`, `+`, `-`, `@`, tab, a line end or another apostrophe.
    """
    begins_so = _FORMULA.match(text.lstrip("'"))
    return f"'{text}" if begins_so else text


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")

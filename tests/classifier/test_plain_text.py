"""Other people's text, made harmless for terminals and spreadsheets."""

import csv
import io

import pytest

from classifier.plain_text import csv_text, printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("goldfish, Carassius auratus", "goldfish, Carassius auratus"),
        ("金魚 żółw ñ 🐠 नमस्ते می‌خواهم", "金魚 żółw ñ 🐠 नमस्ते می‌خواهم"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x1b[2J\x9b31m\x7f", r"\x1b[2J\x9b31m\x7f"),
        ("a\r\nPASS\tx", r"a\r\nPASS\tx"),
        ("\u202egnp.exe\u2066\u200f", r"\u202egnp.exe\u2066\u200f"),
        ("a\u2028b\u2029c\x85d\ufeff", r"a\u2028b\u2029c\x85d\ufeff"),
        ("\udcff\ud800", r"\udcff\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(
    text: str, shown: str
) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    assert printable(text).encode()


def test_lines_stay_lines() -> None:
    assert printable_lines("one\n\x1b[1mtwo\r\n") == "one\n\\x1b[1mtwo\\r\n"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("goldfish", "goldfish"),
        ("", ""),
        ("'tis", "'tis"),
        ("a=b", "a=b"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1", "'\uff1d1"),  # = of full width
        ("'=1", "''=1"),
    ],
)
def test_no_cell_of_text_is_a_formula_and_each_can_be_read_back(
    text: str, cell: str
) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([csv_text(text), -0.5])

    (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert row == [cell, "-0.5"]
    is_guarded = cell.startswith("'") and csv_text(cell) != cell
    assert (cell[1:] if is_guarded else cell) == text

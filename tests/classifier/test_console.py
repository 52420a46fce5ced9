"""Text made harmless for where it is shown, log records, and the progress bar."""

import csv
import io
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from jinja2 import Environment
from markupsafe import Markup

from classifier.console.text import (
    csv_row,
    csv_text,
    error_line,
    markdown_text,
    page_text,
    plain_handler,
    printable,
    printable_lines,
)
from tests.training.forked import ROOT


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
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
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
def test_a_cell_is_no_formula_and_can_be_read_back(text: str, cell: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow(csv_row((text, -0.5, 3)))

    (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert row == [cell, "-0.5", "3"]
    assert csv_text(cell) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a|b", "a\\|b"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("[x](javascript:1)", "\\[x\\](javascript:1)"),
        ("one\n\ntwo", "one two"),
        ("@someone", "@\u200bsomeone"),
        ("https://x.y", "https:\u200b//x.y"),
        ("WWW.x.y", "WWW\u200b.x.y"),
        ("`*_", "\\`\\*\\_"),
        ("$x$", "\\$x\\$"),
        ("\x1b[2J\u202e", "\\\\x1b\\[2J\\\\u202e"),
    ],
)
def test_markdown_is_escaped(text: str, safe: str) -> None:
    assert markdown_text(text) == safe


def test_further_lines_of_an_error_are_indented() -> None:
    line = error_line("no class 'a'\nverdict: PASS\x1b[0m")

    assert line == "error: no class 'a'\n  verdict: PASS\\x1b[0m"


def test_a_page_shows_escapes_and_keeps_markup_and_numbers() -> None:
    page = Environment(autoescape=True, finalize=page_text).from_string(
        "{{ name }} {{ markup }} {{ number }}"
    )

    shown = page.render(name="<\u202e>", markup=Markup("<b>\u202e</b>"), number=1.5)

    assert shown == "&lt;\\u202e&gt; <b>\u202e</b> 1.5"


def test_a_log_record_is_one_line_with_its_traceback_below(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.Logger("one of this test")
    logger.addHandler(plain_handler("%(levelname)s %(message)s"))

    logger.warning("class=%s", "a\nINFO all is well\x1b[2J")
    try:
        raise ValueError("\x9b31m")
    except ValueError:
        logger.exception("broken")

    first, *rest = capsys.readouterr().err.splitlines()
    assert first == r"WARNING class=a\nINFO all is well\x1b[2J"
    assert rest[0] == "ERROR broken"
    assert rest[-1] == r"ValueError: \x9b31m"


WAIT_SECONDS = 60.0
WORK = """
import sys
from classifier.console.progress import progress_bar
with progress_bar("epoch 1", total=9, done=7) as advance:
    advance(1)
    print("line", flush=True)
    sys.stdin.readline()
    advance(1)
print("after", flush=True)
"""


@contextmanager
def _on_terminal() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """WORK with a terminal as standard error, and the terminal's other end."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WORK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm"},
        cwd=ROOT,
    ) as process:
        os.close(theirs)
        yield process, ours


def test_output_into_a_pipe_is_not_shown_on_the_terminal_of_the_bar() -> None:
    with _on_terminal() as (process, terminal):
        output, _ = process.communicate("go on\n", timeout=WAIT_SECONDS)
        shown = os.read(terminal, 100_000)
        os.close(terminal)

    assert output == "line\nafter\n"
    assert b"epoch 1" in shown
    assert b"7/9" in shown or b"8/9" in shown  # images done before count
    assert b"line" not in shown


def test_the_work_goes_on_when_the_terminal_is_closed() -> None:
    with _on_terminal() as (process, terminal):
        os.read(terminal, 1)  # the bar is there
        os.close(terminal)
        output, _ = process.communicate("go on\n", timeout=WAIT_SECONDS)

    assert (output, process.returncode) == ("line\nafter\n", 0)

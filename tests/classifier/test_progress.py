"""Bars on a terminal leave what is printed where it belongs, and end nothing."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.training.forked import ROOT

WAIT_SECONDS = 60.0
WORK = """
import sys
from classifier.progress import progress_bar
with progress_bar("epoch 1", total=2) as advance:
    advance(1)
    print("line", flush=True)
    sys.stdin.readline()
    advance(1)
print("after", flush=True)
"""


@contextmanager
def _on_terminal() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """WORK with a terminal for its errors alone, and the terminal's other end."""
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


def test_what_is_printed_into_a_pipe_does_not_go_to_the_bars_terminal() -> None:
    with _on_terminal() as (process, terminal):
        output, _ = process.communicate("go on\n", timeout=WAIT_SECONDS)
        shown = os.read(terminal, 100_000)
        os.close(terminal)

    assert output == "line\nafter\n"
    assert b"epoch 1" in shown
    assert b"line" not in shown


def test_a_terminal_that_is_closed_ends_its_bar_and_not_the_work() -> None:
    with _on_terminal() as (process, terminal):
        os.read(terminal, 1)  # the bar is there
        os.close(terminal)
        output, _ = process.communicate("go on\n", timeout=WAIT_SECONDS)

    assert (output, process.returncode) == ("line\nafter\n", 0)

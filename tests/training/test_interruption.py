"""The first signal ends a run in order; afterwards signals do what they did before."""

import os
import signal
import subprocess
import sys

import pytest

from training.interruption import SIGNALS, ignore_more_signals, signals_interrupt


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_interrupts_and_the_next_do_not(number: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]

    with signals_interrupt():
        # A shell's job in the background ignores SIGINT, and so does the test then.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        ignore_more_signals()
        for each in SIGNALS:
            os.kill(os.getpid(), each)

    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_processes_started_meanwhile_can_be_interrupted() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) != signal.SIG_IGN)"

    with signals_interrupt():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ignore_more_signals()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)

    assert done.stdout == b"True\n"

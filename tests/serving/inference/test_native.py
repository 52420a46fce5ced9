"""Functions in native threads, in a process with an event loop and in one without."""

import subprocess
import sys
from threading import get_ident

import pytest

from serving.inference.native import run_natively, thread_ident

IN_A_LOOP = """
from gevent import monkey
monkey.patch_all()
from threading import Event, Thread
from serving.inference.native import run_natively, thread_ident

def fail():
    raise KeyError("reached")

def block(ident):
    ticked.wait(0)  # a greenlet's event is looked at, not waited for
    return thread_ident(), run_natively(thread_ident), ident

ticked = Event()
Thread(target=ticked.set, daemon=True).start()
loop = thread_ident()
outer, inner, given = run_natively(block, ident=3)
assert outer == inner != loop, "a native thread calls what it is given itself"
assert given == 3
assert ticked.is_set(), "the other greenlet went on meanwhile"
try:
    run_natively(fail)
except KeyError as error:
    print(error)
"""


def test_a_blocking_function_leaves_the_loop_to_other_greenlets() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_A_LOOP],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "'reached'\n", "")


def test_without_a_loop_the_function_is_called() -> None:
    assert run_natively(thread_ident) == get_ident()
    with pytest.raises(ZeroDivisionError):
        run_natively(divmod, 1, 0)

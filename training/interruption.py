"""What stops a run from outside: it ends in order, and says how to go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from classifier.store import StoreUnavailable
from training.launch import program
from training.run_state import StateFolder, UnknownRun
from training.world import PeerLost

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The run was stopped from outside; says how to go on with it."""


@contextmanager
def telling_how_to_resume(folder: StateFolder, *, epochs: int) -> Iterator[None]:
    """Adds to what ends the run how many of its `epochs` are kept, as `folder` has it.

    Of a run that keeps nothing yet there is nothing to say.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        kept = _kept(folder, epochs)
        if kept is None:
            raise
        raise Interrupted(f"interrupted; {kept}") from error
    except (StoreUnavailable, PeerLost, OSError) as error:
        kept = _kept(folder, epochs)
        if kept is not None:
            error.add_note(kept)
        raise


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM as well as Ctrl-C: so a cluster stops a job that it wants to go on later.

    Afterwards both do what they did before.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_more_signals() -> None:
    """The first one ends the run; the next must not end the writing that is under way.

    torchrun sends SIGTERM after the terminal's SIGINT. Ctrl-\\ still kills.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            # Not SIG_IGN, which processes started from here would have as well.
            signal.signal(number, lambda *_: None)


def _kept(folder: StateFolder, epochs: int) -> str | None:
    try:
        done = folder.read().epochs_done
    except UnknownRun:
        return None
    return (
        f"{done} of {epochs} epochs are kept; go on with: {program()} --resume "
        f"{folder.run_id}"
    )

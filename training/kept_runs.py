"""Where the runs of a store keep their states, and which of them is asked for."""

import logging
from pathlib import Path

from classifier.store import store_folder
from training.run_state import STATE, StateFolder, UnknownRun

logger = logging.getLogger(__name__)


def state_folder(store_uri: str, run_id: str) -> StateFolder:
    return StateFolder(_states(store_uri) / run_id, run_id)


def find_state(store_uri: str, asked: str) -> StateFolder:
    """The run `asked` for, by its id; `last` is the one that was started last, of those
    whose state can be read.

    UnknownRun says which there are.
    """
    folders = [
        StateFolder(path.parent, path.parent.name)
        for path in sorted(_states(store_uri).glob(f"*/{STATE}"))
    ]
    if asked == "last":
        started = {
            started_ms: folder
            for folder in folders
            if (started_ms := _started_ms(folder)) is not None
        }
        if started:
            return started[max(started)]
    for folder in folders:
        if folder.run_id == asked:
            return folder
    there = ", ".join(folder.run_id for folder in folders) or "none"
    raise UnknownRun(
        f"no training state of run {asked!r} below {_states(store_uri)}; there is "
        f"{there}; start one without --resume"
    )


def _started_ms(folder: StateFolder) -> int | None:
    """None where it cannot be read: an old one must not hide the others."""
    try:
        return folder.read().started_ms
    except (UnknownRun, OSError) as error:
        logger.warning("left out run=%s: %s", folder.run_id, error)
        return None


def _states(store_uri: str) -> Path:
    """Beside MLflow's files also where the store is a server: it is too large to send
    after every epoch."""
    return store_folder(store_uri) / "mlruns" / "training-state"

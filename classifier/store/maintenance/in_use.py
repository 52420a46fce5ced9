"""Versions in use: a lock on their files, held while a process has them in memory."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from classifier.storage import alone, default_cache, share


def hold(model_id: str | None, folder: Path) -> ExitStack:
    """Keep `prune` from removing a version, until the result is closed.

    The lock on a file of the version is seen by all users of this machine, and needs no
    right to write. The files of a remote store are copies, so there is a lock
    in the user's cache too. Without a place for a lock there is none.
    """
    held = ExitStack()
    with suppress(OSError):
        held.callback(os.close, share(_own_file(folder)))
    if model_id is not None:
        with suppress(OSError):
            _lock_file(model_id).parent.mkdir(parents=True, exist_ok=True)
            held.callback(os.close, share(_lock_file(model_id)))
    return held


@contextmanager
def unused(model_id: str, folder: Path | None) -> Iterator[bool]:
    """Yield whether no process of this machine holds the version; then none can.

    `folder` is None for a remote store.
    """
    place = _lock_file(model_id) if folder is None else _own_file(folder)
    with alone(place) as is_alone:
        yield is_alone


def _own_file(folder: Path) -> Path:
    """MLmodel has the model's id; other files may be links that versions share."""
    file = folder / "MLmodel"
    return file if file.is_file() else folder


def _lock_file(model_id: str) -> Path:
    return default_cache() / "in-use" / model_id

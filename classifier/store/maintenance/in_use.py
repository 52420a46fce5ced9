"""Versions in use: a lock on their files, held while a process has them in memory."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from classifier.storage import alone, default_cache, share


def hold(model_id: str | None, folder: Path) -> ExitStack:
    """Keep `prune` from removing a version, until the result is closed.

    The lock on the folder with its files is seen by all users of this machine, and
    needs no right to write. The files of a remote store are copies, so there is a lock
    in the user's cache too. Without a place for a lock there is none.
    """
    held = ExitStack()
    places = [folder] if model_id is None else [folder, _lock_file(model_id)]
    for place in places:
        with suppress(OSError):
            if place is not folder:
                place.parent.mkdir(parents=True, exist_ok=True)
            held.callback(os.close, share(place))
    return held


@contextmanager
def unused(model_id: str, folder: Path | None) -> Iterator[bool]:
    """Yield whether no process of this machine holds the version; then none can.

    `folder` is None for a remote store.
    """
    with alone(folder or _lock_file(model_id)) as is_alone:
        yield is_alone


def _lock_file(model_id: str) -> Path:
    return default_cache() / "in-use" / model_id

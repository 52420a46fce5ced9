"""Room in the cache: the least recently used entries go first, loaded ones never.

On Linux a file that is open or mapped outlives its name, but a version is opened more
than once while it loads, also by other processes. So who loads an entry holds the
kernel's shared lock on its folder, which ends with the process.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from classifier.storage import megabytes

logger = logging.getLogger(__name__)


def make_room(cache: Path, *, most_bytes: float, newest: Path) -> None:
    """Removes entries of a cache until the rest fits, and what killed processes left.

    `newest` stays, whatever its size.
    """
    entries = cache / "entries"
    for left in [*entries.glob(".*.gone"), *entries.glob(".*.partial")]:
        _remove_left(left)
    size = size_of(cache)
    for entry in sorted(_entries(entries), key=_used_at):
        if size <= most_bytes:
            return
        if entry != newest and _remove_unused(entry):
            _forget_contents(cache)
            before, size = size, size_of(cache)
            freed = megabytes(before - size)
            logger.info("removed from the cache entry=%s freed=%s", entry.name, freed)


def size_of(cache: Path) -> int:
    """Bytes of all files; a content that several entries have counts once."""
    states = map(_state, _files(cache))
    return sum({s.st_ino: s.st_size for s in states if s is not None}.values())


def _forget_contents(cache: Path) -> None:
    """Removes contents that no entry links. An entry that is being made and has linked
    one keeps it."""
    for content in (cache / "objects").glob("??/*"):
        state = _state(content)
        if state is not None and state.st_nlink == 1 and content.name != ".lock":
            content.unlink(missing_ok=True)


def _remove_unused(entry: Path) -> bool:
    """Removes an entry, unless a process has it loaded."""
    try:
        descriptor = os.open(entry, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        gone = entry.with_name(f".{entry.name}.gone")
        entry.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    except OSError:  # in use, or another process removes it
        return False
    finally:
        os.close(descriptor)
    return True


def _remove_left(folder: Path) -> None:
    """Removes a folder that nobody is making."""
    name = folder.name.rpartition(".")[0]
    with suppress(OSError):
        descriptor = os.open(folder.with_name(f"{name}.lock"), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _entries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _used_at(entry: Path) -> float:
    state = _state(entry)
    return 0.0 if state is None else state.st_mtime


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in names)


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None

"""Builds a folder once, whole or not at all, whoever else wants it."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from classifier.console import NotNow
from classifier.hardware import usable_cores

logger = logging.getLogger(__name__)


def default_cache() -> Path:
    """One per user: $XDG_CACHE_HOME/flipside, else ~/.cache/flipside."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flipside"


def build_once(
    folder: Path,
    build: Callable[[Path], None],
    *,
    is_whole: Callable[[Path], bool] = Path.is_dir,
) -> Path:
    """`folder`, after `build` filled it if it was not there, or is damaged.

    `build` gets a folder under a temporary name, renamed when it returns. One process
    builds, others wait for it; the lock is the kernel's, so that a killed builder holds
    up nobody, and the next one starts from an empty folder. Whoever finds it damaged
    looks again under the lock: another process may have mended it.
    """
    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_whole(folder):
            if folder.is_dir():
                logger.warning("damaged folder=%s is built again", folder)
                shutil.rmtree(folder)
            partial = folder.parent / f".{folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                build(partial)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            partial.rename(folder)
    return folder


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside it to write to, which takes its place when all went well."""
    partial = _partial(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """In UTF-8, with the line ends that it has."""
    with whole(path) as partial:
        partial.write_text(text, "utf-8", newline="")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """NaN has no place in JSON and is a fault of ours: ValueError."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Those that are there, and what a kill left of writing them."""
    for path in (folder / name for name in names):
        path.unlink(missing_ok=True)
        _partial(path).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


CHUNK_BYTES = 1 << 24
READ_BYTES = 1 << 20


def file_checksums(path: Path) -> list[int]:
    """zlib.crc32 of each 16 MiB of the file, in order; OSError if it cannot be read.

    Against accidents, not against forgery: of all ways to damage a chunk, one in 4
    billion goes unseen, and none that leaves all but 32 bits in a row as they were.
    1.2 GB in the page cache cost 0.4 s of a core (two share them); sha256 0.7 s,
    blake2b 1.3 s. Read, not mapped: a disk's error is an OSError then, not a SIGBUS.
    """
    with open(path, "rb", buffering=0) as file:
        descriptor = file.fileno()
        starts = range(0, os.fstat(descriptor).st_size, CHUNK_BYTES)
        with ThreadPoolExecutor(usable_cores(), "checksum") as pool:
            return list(pool.map(lambda start: _checksum(descriptor, start), starts))


def _checksum(descriptor: int, start: int) -> int:
    buffer = memoryview(bytearray(READ_BYTES))
    checksum, position, end = 0, start, start + CHUNK_BYTES
    while position < end:
        count = os.preadv(descriptor, [buffer[: end - position]], position)
        if count == 0:
            break
        checksum = zlib.crc32(buffer[:count], checksum)
        position += count
    return checksum


class DiskTooSmall(NotNow, RuntimeError):
    """A disk has less room than will be written to it."""


def check_room(folder: Path, needed_bytes: int, *, purpose: str, remedy: str) -> None:
    """DiskTooSmall where `folder`, which need not be there yet, has less room.

    `purpose` and `remedy` are parts of its message: what for, and what to do.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise DiskTooSmall(
            f"{purpose} takes {megabytes(needed_bytes)} in {folder}, and "
            f"{megabytes(free)} are free there; {remedy}"
        )


def megabytes(count: int) -> str:
    """Decimal, as `df --si` and shops count: '1,229 MB'."""
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e6:.2f} MB"

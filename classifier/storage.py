"""Files written whole, files and folders built once, room and checksums on a disk.

A reader never finds half a file or folder: it is made beside its place under a
temporary name, then renamed. A process that is killed meanwhile leaves only the
temporary name, which the next attempt removes.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from classifier.console.exits import NotNow, WrongUsage, system_error
from classifier.hardware import usable_cores

CHUNK_BYTES = 1 << 24
READ_BYTES = 1 << 20

logger = logging.getLogger(__name__)


def default_cache() -> Path:
    """The user's cache folder: $XDG_CACHE_HOME/flipside, else ~/.cache/flipside."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flipside"


class NotWritable(NotNow, OSError):
    """A file or folder cannot be written now, for example because the disk is full."""


class BadPlace(WrongUsage, OSError):
    """No file or folder can be written at a path that a user named."""


_BAD_PLACE = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
        *(errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP),
    }
)


@contextmanager
def writing(
    doing: str, *, remedy: str = "", is_users_path: bool = True
) -> Iterator[None]:
    """Raises BadPlace or NotWritable, with `doing` and `remedy`, for a system error.

    BadPlace is only for a path that the user named: a folder of our own that has
    disappeared is no wrong usage.
    """
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # it has its own message
            raise
        is_wrong = is_users_path and error.errno in _BAD_PLACE
        kind = BadPlace if is_wrong else NotWritable
        end = f"; {remedy}" if remedy else ""
        raise kind(f"cannot {doing}: {system_error(error)}{end}") from error


def make_folder(folder: Path, *, flag: str) -> None:
    """Make the folder, and those above it, if absent; `flag` names another one."""
    with writing(f"make the folder {folder}", remedy=f"name another with {flag}"):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it replaces `path` if the block succeeds.

    Raises NotWritable for a system error.
    """
    partial = path.with_name(partial_name(path.name))
    try:
        with writing(f"write {path}", is_users_path=False):
            yield partial
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8; line ends stay as they are."""
    with atomic_write(path) as partial:
        partial.write_text(text, "utf-8", newline="")


def write_json(path: Path, document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Raises ValueError for NaN, which JSON does not have."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_in_reserve(path: Path, data: bytes, reserve: Path) -> None:
    """Write `data` into the file `reserve`, which then replaces `path`.

    The disk needs no more room than `reserve` has (see `take_room`). If writing fails,
    `path` is unchanged and `reserve` keeps its room. The data is flushed to the disk
    first (fsync), so that a power cut leaves the old content or the new.
    """
    reserve.touch()
    with reserve.open("r+b") as file:
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    reserve.replace(path)


def partial_name(name: str) -> str:
    """The temporary name of the file `name` while it is written."""
    return f"{name}.partial"


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove the files and their partial ones; absent files are ignored."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
        (folder / partial_name(name)).unlink(missing_ok=True)


def build_once(
    folder: Path,
    build: Callable[[Path], None],
    *,
    is_whole: Callable[[Path], bool] = Path.is_dir,
    lock: Callable[[int, int], object] = fcntl.flock,
) -> Path:
    """Return `folder` of the cache; `build` fills it if it is absent or damaged.

    `build` gets an empty folder under a temporary name. One process builds, the others
    wait, in `lock`; a builder that is killed leaves no lock behind. Damage is looked
    for again under the lock, because another process may have repaired the folder.
    """
    if is_whole(folder):
        return folder
    make_folder(folder.parent, flag="--cache or XDG_CACHE_HOME")
    with locked(folder.parent / f".{folder.name}.lock", lock):
        if not is_whole(folder):
            if folder.is_dir():
                logger.warning("damaged folder=%s is built again", folder)
                shutil.rmtree(folder)
            with _staging(folder) as partial:
                build(partial)
                partial.rename(folder)
    return folder


def build_file_once(file: Path, build: Callable[[Path], None]) -> None:
    """Let `build` write `file` if it is absent; a file of another program stays.

    The same as `build_once`, for a place that is the user's: the lock is on the folder
    itself, so no lock file is left there.
    """
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.parent):
        if not file.exists():
            with _staging(file) as folder:
                build(folder / file.name)
                _place(folder / file.name, file)


@contextmanager
def locked(
    path: Path, lock: Callable[[int, int], object] = fcntl.flock
) -> Iterator[None]:
    """Hold the kernel's lock on a folder or file. It ends with the process."""
    # A file is opened for writing, because NFS locks no other exclusively.
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def share(path: Path) -> int:
    """Share the kernel's lock on a folder or file, until os.close() of the result.

    An absent file is made. The lock ends with the process. Blocks while another process
    has it `alone`.
    """
    flags = os.O_RDONLY if path.exists() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Yield whether no other process shares `path`; then none can during the block."""
    # NFS locks only what is open for writing, which no folder can be.
    is_written = path.is_file() and os.access(path, os.W_OK)
    try:
        descriptor = os.open(path, os.O_RDWR if is_written else os.O_RDONLY)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_alone = True
        except BlockingIOError:
            is_alone = False
        yield is_alone
    finally:
        os.close(descriptor)


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it is removed unless it was renamed."""
    partial = path.with_name(f".{partial_name(path.name)}")
    shutil.rmtree(partial, ignore_errors=True)
    if partial.is_file():  # an unfinished database of an earlier flipside
        partial.unlink()
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _place(built: Path, file: Path) -> None:
    """Rename `built` to `file`, unless `file` exists by now."""
    try:
        os.link(built, file)
    except FileExistsError:
        pass
    except OSError:  # a disk without hard links, such as exFAT
        built.rename(file)


class DiskTooSmall(NotNow, RuntimeError):
    """A disk has less room than will be written to it."""


def check_room(folder: Path, needed_bytes: int, *, purpose: str, remedy: str) -> None:
    """Raises DiskTooSmall if the disk of `folder` has less room than is needed.

    The folder need not exist yet. `purpose` and `remedy` are parts of the message.
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


def take_room(path: Path, size: int) -> None:
    """Extend the file to `size` bytes of real room.

    Raises NotWritable if the disk has no more. Writing to a file without such room
    through a memory map ends the process by SIGBUS instead.
    """
    with (
        writing(f"reserve {megabytes(size)} for {path}", is_users_path=False),
        path.open("ab") as file,
    ):
        os.posix_fallocate(file.fileno(), 0, size)


def megabytes(count: int) -> str:
    """Decimal, as `df --si` counts: `1,229 MB`."""
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e6:.2f} MB"


def file_checksums(path: Path) -> list[int]:
    """zlib.crc32 of each 16 MiB of the file, in order. Raises OSError if unreadable.

    The checksums detect accidents, not forgery: one of 4 billion damaged chunks is
    missed, and no damage within 32 bits in a row. 1.2 GB in the page cache take 0.4 s
    of a core (two share them); sha256 takes 0.7 s, blake2b 1.3 s. The file is read, not
    mapped, so that a disk error raises OSError instead of SIGBUS.
    """
    with open(path, "rb", buffering=0) as file:
        descriptor = file.fileno()
        starts = range(0, os.fstat(descriptor).st_size, CHUNK_BYTES)
        with ThreadPoolExecutor(usable_cores(), "checksum") as pool:
            return list(pool.map(lambda start: _checksum(descriptor, start), starts))


def file_sha256(path: Path) -> str:
    """In hex digits. Raises OSError if the file cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(folder: Path) -> dict[str, str]:
    """file_sha256 of each file below `folder`, by its path from there.

    The files are hashed side by side. Raises OSError if one cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [file.relative_to(folder).as_posix() for file in files]
    with ThreadPoolExecutor(usable_cores(), "sha256") as pool:
        return dict(zip(names, pool.map(file_sha256, files), strict=True))


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

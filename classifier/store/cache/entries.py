"""Files downloaded once into the user's cache: by content, verified, least used out.

    artifacts/entries/<key>/          a version's files, and their digests in MANIFEST
    artifacts/objects/ab/abcd…        their contents but weights, each once by its
                                      sha256: hard links

An entry is made beside its place and renamed when it is whole. A process holds the
kernel's shared lock on an entry that it has loaded; such an entry is never removed.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import ParamSpec, Protocol, TypeVar

from classifier.bundle.files import WEIGHTS, Bundle, read_bundle
from classifier.console.exits import WrongUsage
from classifier.storage import (
    build_once,
    default_cache,
    file_sha256,
    locked,
    make_folder,
    write_json,
)
from classifier.store.cache.room import make_room
from classifier.store.location import StoreUnavailable

SIZE_VARIABLE = "FLIPSIDE_CACHE_GB"
DEFAULT_GB = 10.0

MANIFEST = ".sha256.json"

NOT_PUBLISHED = frozenset({MANIFEST, "registered_model_meta"})
"""Files in a version's folder that were not published with it: the cache's own, and one
that MLflow writes into a local store where it loads a version."""

ATTEMPTS = 2

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Runner(Protocol):
    """Runs a function that blocks: here, or where an event loop is not held up."""

    def __call__(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


def run_here(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)


class Source(Protocol):
    """Files of one folder of a store."""

    location: str

    def names(self) -> Iterable[str]:
        """Paths of all files. Raises StoreUnavailable."""

    def file(self, name: str, to: Path) -> None:
        """Downloads a file. Raises StoreUnavailable."""


class BadCacheSize(WrongUsage, ValueError):
    """FLIPSIDE_CACHE_GB is no number above 0."""


class _Damaged(RuntimeError):
    """A download has another digest than the store has recorded."""


class EntryCache:
    """Entries of a cache that all processes of a user share."""

    def __init__(self, folder: Path | None = None, *, natively: Runner = run_here):
        """`natively` runs what blocks on the disk or on a lock. Raises BadCacheSize."""
        self._folder = folder or default_cache() / "artifacts"
        self._natively = natively
        self._most_bytes = _most_bytes()
        self._verified: dict[tuple[int, int, int], str] = {}

    def fetch(
        self,
        key: str,
        source: Callable[[], Source],
        *,
        digests: Mapping[str, str] | None,
        names: tuple[str, ...] = (),
    ) -> Path:
        """The folder of an entry, downloaded if it is absent or damaged.

        It has the files of `digests`; without, `names`, or all that the store lists,
        which are checked by the digests of the first whole download. Raises
        StoreUnavailable.
        """
        entry = self._entry(key)
        if not self._is_whole(entry, digests):
            build = partial(self._build, source, digests, names)
            is_whole = partial(self._is_whole, digests=digests)
            build_once(entry, build, is_whole=is_whole, lock=self._lock)
            self._natively(
                make_room, self._folder, most_bytes=self._most_bytes, newest=entry
            )
        _use(entry)
        return entry

    def kept(self, key: str) -> Path | None:
        """The folder of an entry that is there and whole, whatever the store has."""
        entry = self._entry(key)
        if not self._is_whole(entry):
            return None
        _use(entry)
        return entry

    def bundle(self, fetch: Callable[[], Path]) -> Bundle:
        """Reads the files of the folder that `fetch` returns. While the bundle is in
        use, no process removes them from the cache."""
        while True:
            folder = fetch()
            if folder.parent != self._folder / "entries":
                return self._natively(read_bundle, folder)
            descriptor = _hold(folder)
            if descriptor is not None:
                break
        try:
            bundle = self._natively(read_bundle, folder)
        except BaseException:
            os.close(descriptor)
            raise
        weakref.finalize(bundle, os.close, descriptor)
        return bundle

    def _entry(self, key: str) -> Path:
        # Tags have keys too, and anybody can write tags.
        is_name = re.fullmatch(r"[\w-]{1,100}", key, re.ASCII)
        name = key if is_name else hashlib.sha256(key.encode()).hexdigest()
        return self._folder / "entries" / name

    def _lock(self, descriptor: int, operation: int) -> None:
        self._natively(fcntl.flock, descriptor, operation)

    def _is_whole(self, entry: Path, digests: Mapping[str, str] | None = None) -> bool:
        found = self._natively(_manifest, entry)
        if found is None or digests not in (None, found):
            return False
        return all(
            self._digest(entry / name) == digest for name, digest in found.items()
        )

    def _digest(self, file: Path) -> str | None:
        """None if there is no such file. Files that have not changed are read once."""
        try:
            state = file.stat()
            key = state.st_ino, state.st_size, state.st_mtime_ns
            if key not in self._verified:
                self._verified[key] = self._natively(file_sha256, file)
        except OSError:
            return None
        return self._verified[key]

    def _build(
        self,
        open_source: Callable[[], Source],
        digests: Mapping[str, str] | None,
        names: tuple[str, ...],
        partial_entry: Path,
    ) -> None:
        source = open_source()
        wanted: Mapping[str, str | None] = digests or dict.fromkeys(
            names or source.names()
        )
        made = dict[str, str]()
        for name, digest in wanted.items():
            file = partial_entry / _safe(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            made[name] = self._get(source, name, file, digest)
        self._natively(write_json, partial_entry / MANIFEST, made)

    def _get(self, source: Source, name: str, file: Path, digest: str | None) -> str:
        """Makes the file, and returns its digest. A content that several entries have
        is downloaded by the first of them."""
        if digest is None:
            source.file(name, file)
            digest = self._natively(file_sha256, file)
            self._natively(self._share, file, digest)
            return digest
        if file.name == WEIGHTS:  # each version has its own
            self._download(source, name, file, digest)
            return digest
        content = self._content(digest)
        make_folder(content.parent, flag="XDG_CACHE_HOME")
        with locked(content.parent / ".lock", self._lock):
            if not self._take(content, file, digest):
                self._download(source, name, file, digest)
                self._natively(self._share, file, digest)
        return digest

    def _content(self, digest: str) -> Path:
        return self._folder / "objects" / digest[:2] / digest

    def _take(self, content: Path, file: Path, digest: str) -> bool:
        """Links a content that is there; a damaged one is removed."""
        if self._digest(content) == digest:
            with suppress(OSError):  # it was removed, or links are not possible
                os.link(content, file)
                return True
        else:
            content.unlink(missing_ok=True)
        return False

    def _share(self, file: Path, digest: str) -> None:
        """Lets other entries link the file; not weights, as the onnx package refuses
        those with two names ("a potential hardlink attack")."""
        if file.name == WEIGHTS:
            return
        content = self._content(digest)
        content.parent.mkdir(parents=True, exist_ok=True)
        file.chmod(0o444)  # other entries have the same file
        with suppress(OSError):  # another entry has it, or a disk without hard links
            os.link(file, content)

    def _download(self, source: Source, name: str, file: Path, digest: str) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                source.file(name, file)
                found = self._natively(file_sha256, file)
                if found != digest:
                    raise _Damaged(f"its sha256 is {found}, recorded is {digest}")
            except (_Damaged, StoreUnavailable) as error:
                if attempt < ATTEMPTS:
                    logger.warning("downloaded again file=%s reason=%s", name, error)
                    continue
                raise StoreUnavailable(
                    f"{name} of {source.location} could not be downloaded "
                    f"{ATTEMPTS} times: {error}; look at the store's copy"
                ) from error
            return


def _most_bytes() -> float:
    text = os.environ.get(SIZE_VARIABLE) or str(DEFAULT_GB)
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not size > 0:
        raise BadCacheSize(
            f"{SIZE_VARIABLE} is {text!r:.40}; it is how many gigabytes downloaded "
            f"versions may take at most, a number above 0"
        )
    return size * 1e9


def _safe(name: str) -> PurePosixPath:
    if not _is_safe(name):
        raise StoreUnavailable(f"the store lists a file {name!r:.200}, no path in it")
    return PurePosixPath(name)


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    parts = {*path.parts}
    return bool(parts) and not path.is_absolute() and not parts & {"..", MANIFEST}


def _manifest(entry: Path) -> dict[str, str] | None:
    try:
        found: dict[str, str] = json.loads((entry / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return found


def _use(entry: Path) -> None:
    """Notes the time of the last use."""
    with suppress(OSError):
        os.utime(entry)


def _hold(entry: Path) -> int | None:
    """A descriptor that holds the shared lock of an entry; None if it was removed."""
    descriptor = None
    try:
        descriptor = os.open(entry, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), entry.stat()):
            return descriptor
    except (FileNotFoundError, BlockingIOError):
        pass
    if descriptor is not None:
        os.close(descriptor)
    return None

"""A thread that reads the registry every few seconds, so that no request waits for it.

New and deleted versions, moved aliases and new int8 forms are seen after that time;
other changed tags after WHOLE_SECONDS, or when a request names an unknown int8 form.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import ParamSpec, TypeVar

from classifier.bundle.files import KEPT_IMAGES, Bundle
from classifier.store.cache.last_seen import keep_versions, last_versions
from classifier.store.location import StoreUnavailable, is_remote
from classifier.store.registry import Registry
from classifier.store.versions import Version
from serving.inference.native import run_natively

WHOLE_SECONDS = 600.0
"""Longest time between two full readings; docs/benchmarks.md has what one costs for
1,000 versions, and what a look at new versions and aliases does."""

REST, MOST_REST_SECONDS = 9, 2.0
"""After a reading that a request caused, the next such reading waits 9 times its
length, at most 2 s: requests for unknown names take at most a tenth of a core, and a
new version is still found within LOOK_AGAIN_SECONDS."""

JITTER = 0.8, 1.1
"""Least and most time between two readings, in times of --follow-seconds."""

MOST_WAITING = 8
"""Most threads that wait for a reading: unknown names could occupy all threads."""

logger = logging.getLogger(__name__)


P = ParamSpec("P")
T = TypeVar("T")


def ask_store(
    registry: Registry, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """The answer of the store; other greenlets go on meanwhile.

    Over HTTP this greenlet asks: MLflow keeps connections for all threads, and on an
    event loop one belongs to the native thread that opened it. A database or a disk
    blocks, and is asked in a native thread.
    """
    if is_remote(registry.uri):
        return question(*args, **kwargs)
    return run_natively(question, *args, **kwargs)


@dataclass(frozen=True)
class VersionFiles:
    """The state of a version's folder before it was read."""

    folder: Path
    state: frozenset[Hashable]

    @classmethod
    def of(cls, folder: Path) -> "VersionFiles":
        return cls(folder, _state(folder))

    @property
    def have_changed(self) -> bool:
        """True also if the folder was moved away, or is back."""
        return _state(self.folder) != self.state


def _state(folder: Path) -> frozenset[Hashable]:
    try:
        return frozenset(_state_of_file(file) for file in folder.iterdir())
    except OSError:
        return frozenset()


def _state_of_file(file: Path) -> Hashable:
    """The state of the target of a link: DVC may put a target back."""
    try:
        found = file.stat()
    except OSError:
        return file.name
    # ctime: a copy may have the old file's size and mtime.
    return file.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class RegistryWatch:
    """The versions of one or several models, as last read from the registry."""

    def __init__(self, registry: Registry, *models: str, every_seconds: float) -> None:
        """Reads the registry. A remote one may be away if its versions were read before
        by a service of this user: those are served until it is back. Raises
        StoreUnavailable. Later any registry may be away.
        """
        self.registry = registry
        self.models = models
        self._every_seconds = every_seconds
        self.is_up = True
        """Whether the last reading succeeded."""

        self.started_without = False
        """Whether the registry was away at the start, until it can be read."""

        self._kept: dict[str, list[Version]] = {}
        self._of = {model: self._read_first(model) for model in models}
        self.versions = list(chain.from_iterable(self._of.values()))
        """The versions of all models, qualified if there are several models."""

        self._whole_at = time.monotonic()
        self._files: dict[str, VersionFiles] = {}
        self._thread: threading.Thread | None = None
        self._reads = 0
        self.waiting = 0
        """Number of threads that wait for a reading."""

        self._changed = threading.Condition()
        self._is_wanted = self._is_whole_wanted = False
        self._is_reading = self._is_closed = False

    def start(self, on_read: Callable[[], object]) -> None:
        """Starts the thread, which calls `on_read` after each reading, failed or
        not."""
        self._on_read = on_read
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)
        self._thread.start()

    def read_now(self, *, whole: bool = True, timeout_seconds: float) -> None:
        """Blocks until a reading that began after the call is done, or until the
        time-out.

        Without `whole` the reading may be of new versions alone. Returns at once if
        MOST_WAITING threads wait already.
        """
        if self._thread is None:
            return
        with self._changed:
            if self.waiting >= MOST_WAITING:
                return
            # The current reading may have begun before the version was registered.
            wanted = self._reads + 2 if self._is_reading else self._reads + 1
            self._is_wanted = True
            self._is_whole_wanted |= whole
            self._changed.notify_all()
            self.waiting += 1
            try:
                self._changed.wait_for(lambda: self._reads >= wanted, timeout_seconds)
            finally:
                self.waiting -= 1

    def bundle(self, version: Version) -> Bundle:
        """Reads the version's files, while other greenlets go on. Raises
        StoreUnavailable, BrokenBundle or OSError."""
        self._files.pop(version.name, None)

        def note(folder: Path) -> None:
            self._files[version.name] = run_natively(VersionFiles.of, folder)

        return ask_store(self.registry, self.registry.bundle, version, on_found=note)

    def kept_images(self, version: Version) -> Path | None:
        """The images that the version's run has kept, or None. Raises
        StoreUnavailable."""
        if version.run_id is None:
            return None
        find = self.registry.file_of_run
        return ask_store(self.registry, find, version.run_id, KEPT_IMAGES)

    def files(self, version: Version) -> VersionFiles | None:
        """The state before `bundle` last read the files; None if it found none."""
        return self._files.get(version.name)

    def keep(self, served: Iterable[Version]) -> None:
        """Keeps versions of a remote registry, for a start while it is away: with
        aliases at versions that were loaded, as only their files are here."""
        if not is_remote(self.registry.uri):
            return
        of_model: dict[str, list[Version]] = {model: [] for model in self.models}
        for version in served:
            of_model[version.model].append(version)
        for model, versions in of_model.items():
            if versions != self._kept.get(model):
                run_natively(keep_versions, self.registry.uri, model, versions)
                self._kept[model] = versions

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        next_at = rested_at = time.monotonic()
        next_at += self._every_seconds
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_wanted or self._is_closed,
                    timeout=max(0.0, next_at - time.monotonic()),
                )
                if self._is_wanted:
                    self._changed.wait_for(
                        lambda: self._is_closed,
                        timeout=max(0.0, min(rested_at, next_at) - time.monotonic()),
                    )
                if self._is_closed:
                    return
                is_whole, self._is_whole_wanted = self._is_whole_wanted, False
                self._is_wanted, self._is_reading = False, True
            began_at = time.monotonic()
            self._read(whole=is_whole)
            ended_at = time.monotonic()
            # Replicas that were started together do not ask together for long.
            next_at = ended_at + self._every_seconds * random.uniform(*JITTER)
            rest = min(REST * (ended_at - began_at), MOST_REST_SECONDS)
            rested_at = ended_at + rest
            with self._changed:
                self._is_reading = False
                self._reads += 1
                self._changed.notify_all()
            try:
                self._on_read()
            except Exception:
                logger.exception("what the registry has was not followed")

    def _read(self, *, whole: bool) -> None:
        if whole or time.monotonic() - self._whole_at > WHOLE_SECONDS:
            self.read()
        else:
            self.look()

    def read(self) -> None:
        """Reads all versions in this thread. If that fails, the old ones stay."""
        began_at = time.monotonic()
        if self._take(lambda model, known: self._read_whole(model), is_whole=True):
            self._whole_at = began_at

    def look(self) -> None:
        """Reads new versions and aliases; all versions if that is not enough."""
        self._take(self._read_new, is_whole=False)

    def _read_first(self, model: str) -> list[Version]:
        """All versions; of a remote registry that is away, those of its last reading.

        Raises StoreUnavailable.
        """
        try:
            found = self._read_whole(model)
        except StoreUnavailable as error:
            last = last_versions(self.registry.uri, model)
            if last is None:
                raise
            logger.warning("registry is away, its last versions serve reason=%s", error)
            self.is_up, self.started_without = False, True
            return self._marked(last)
        return found

    def _read_whole(self, model: str) -> list[Version]:
        return self._marked(self.registry.versions(model))

    def _read_new(self, model: str, known: list[Version]) -> list[Version]:
        found = self.registry.versions_since(model, known)
        return self._read_whole(model) if found is None else self._marked(found)

    def _marked(self, versions: list[Version]) -> list[Version]:
        if len(self.models) == 1:
            return versions
        return [
            v if v.is_qualified else replace(v, is_qualified=True) for v in versions
        ]

    def _take(
        self, read: Callable[[str, list[Version]], list[Version]], *, is_whole: bool
    ) -> bool:
        """Takes over what `read` finds of each model; returns whether it could read
        all of them (`is_up`). One that it cannot read keeps its versions."""
        known = self._of
        found = {m: self._try(partial(read, m, known[m])) for m in self.models}
        is_up = None not in found.values()
        with self._changed:
            self._of = {
                # A full reading of another thread is newer than a look.
                m: new
                if new is not None and (is_whole or self._of[m] is known[m])
                else self._of[m]
                for m, new in found.items()
            }
            self.versions = list(chain.from_iterable(self._of.values()))
        if is_up and not self.is_up:
            logger.info("registry is back")
            self.started_without = False
        self.is_up = is_up
        return is_up

    def _try(self, ask: Callable[[], list[Version]]) -> list[Version] | None:
        """The result of `ask`; None if the registry cannot be read."""
        try:
            return ask_store(self.registry, ask)
        except StoreUnavailable as error:
            if self.is_up:
                logger.warning("registry is away reason=%s", error)
        # No error may end the thread: no alias would be followed any more.
        except Exception:
            if self.is_up:
                logger.exception("the registry cannot be read")
        return None

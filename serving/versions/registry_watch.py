"""A thread that reads the registry every few seconds, so that no request waits for it.

New versions, moved aliases and a deleted latest version are seen after that time.
Changed tags (which an int8 form consists of) and other deleted versions are seen after
WHOLE_SECONDS, or when a request names an unknown int8 form.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import ParamSpec, TypeVar

from classifier.bundle.files import KEPT_IMAGES, Bundle, read_bundle
from classifier.store.location import StoreUnavailable, is_remote
from classifier.store.registry import Registry
from classifier.store.versions import Version
from serving.inference.native import run_natively

WHOLE_SECONDS = 60.0
"""Longest time between two full readings. One takes 600 core-ms for 1,000 versions with
20 tags each; a reading of new versions alone takes 16."""

REST, MOST_REST_SECONDS = 9, 2.0
"""After a reading that a request caused, the next such reading waits 9 times its
length, at most 2 s: requests for unknown names take at most a tenth of a core, and a
new version is still found within LOOK_AGAIN_SECONDS."""

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
        """Reads the registry; raises StoreUnavailable. Later it may be unavailable."""
        self.registry = registry
        self.models = models
        self._every_seconds = every_seconds
        self._of = {model: self._read_whole(model) for model in models}
        self.versions = list(chain.from_iterable(self._of.values()))
        """The versions of all models, qualified if there are several models."""

        self._whole_at = time.monotonic()
        self.is_up = True
        """Whether the last reading succeeded."""

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
        folder = ask_store(self.registry, self.registry.fetch, version)
        self._files[version.name] = run_natively(VersionFiles.of, folder)
        return run_natively(read_bundle, folder)

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
            next_at = ended_at + self._every_seconds
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

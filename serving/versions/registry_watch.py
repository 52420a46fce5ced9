"""A thread of its own reads the registry every few seconds; no request waits for it.

New versions and aliases are there after that time, and so is a deleted latest version.
Changed tags (an int8 form is some), and other deleted versions, take WHOLE_SECONDS, or
until somebody asks for an int8 form that is not known.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

from classifier.bundle.files import Bundle, read_bundle
from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry
from classifier.store.versions import Version

WHOLE_SECONDS = 60.0
"""How old the full list may grow. It takes 600 core-ms for 1,000 versions with 20 tags
each, and a look at what is new 16."""

REST, MOST_REST_SECONDS = 9, 2.0
"""After a reading that a request asked for, the next such one waits 9 times as long as
it took, or 2 s: names that nobody has take a tenth of a core, and who asks for a new
version still learns of it within LOOK_AGAIN_SECONDS."""

MOST_WAITING = 8
"""Threads that wait for a reading: names that nobody has could take all there are."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionFiles:
    """A folder as it was before it was read."""

    folder: Path
    state: frozenset[Hashable]

    @classmethod
    def of(cls, folder: Path) -> "VersionFiles":
        return cls(folder, _state(folder))

    @property
    def have_changed(self) -> bool:
        """Also where the folder was moved away, or is back."""
        return _state(self.folder) != self.state


def _state(folder: Path) -> frozenset[Hashable]:
    try:
        return frozenset(_state_of_file(file) for file in folder.iterdir())
    except OSError:
        return frozenset()


def _state_of_file(file: Path) -> Hashable:
    """Follows links: what a link of DVC leads to may be put back."""
    try:
        found = file.stat()
    except OSError:
        return file.name
    # ctime: a copy with the old file's size and time of change is another file.
    return file.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class RegistryWatch:
    """The versions of a model as they were read last."""

    def __init__(self, registry: Registry, model: str, *, every_seconds: float) -> None:
        """StoreUnavailable; after this the registry may be away."""
        self._registry = registry
        self._model = model
        self._every_seconds = every_seconds
        self.versions: list[Version] = registry.versions(model)
        self._whole_at = time.monotonic()
        self.is_up = True
        """Whether the registry could be read the last time."""

        self._files: dict[str, VersionFiles] = {}
        self._thread: threading.Thread | None = None
        self._reads = 0
        self.waiting = 0
        """Threads that wait for a reading."""

        self._changed = threading.Condition()
        self._is_wanted = self._is_whole_wanted = False
        self._is_reading = self._is_closed = False

    def start(self, on_read: Callable[[], object]) -> None:
        """`on_read` is called in the thread after each reading, also a failed one."""
        self._on_read = on_read
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)
        self._thread.start()

    def read_now(self, *, whole: bool = True, timeout_seconds: float) -> None:
        """Returns after a reading that began now, or when time is over.

        Without `whole` it may be a look at what is new. At once where MOST_WAITING
        others wait.
        """
        if self._thread is None:
            return
        with self._changed:
            if self.waiting >= MOST_WAITING:
                return
            # The one under way may have begun before what is looked for was there.
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
        """The version's files; StoreUnavailable, BrokenBundle, OSError."""
        self._files.pop(version.number, None)
        folder = self._registry.fetch(version)
        self._files[version.number] = VersionFiles.of(folder)
        return read_bundle(folder)

    def files(self, version: Version) -> VersionFiles | None:
        """As they were when bundle() last read them; None where there were none."""
        return self._files.get(version.number)

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
        """All, now, in this thread; what cannot be read leaves what was."""
        began_at = time.monotonic()
        found = self._try(lambda: self._registry.versions(self._model))
        if found is not None:
            self.versions, self._whole_at = found, began_at

    def look(self) -> None:
        """As read(), for what is new and the aliases; for all where that cannot do."""
        known = self.versions
        found = self._try(lambda: self._registry.versions_since(self._model, known))
        if found is None:
            if self.is_up:
                self.read()
            return
        with self._changed:
            if self.versions is known:  # and nobody has read all of them meanwhile
                self.versions = found

    def _try(self, ask: Callable[[], list[Version] | None]) -> list[Version] | None:
        """None, too, where the registry cannot be read; `is_up` tells."""
        try:
            found = ask()
        except StoreUnavailable as error:
            if self.is_up:
                logger.warning("registry is away reason=%s", error)
            self.is_up = False
            return None
        # Whatever else it is, it must not end the thread: nothing would be followed.
        except Exception:
            if self.is_up:
                logger.exception("the registry cannot be read")
            self.is_up = False
            return None
        if not self.is_up:
            logger.info("registry is back")
        self.is_up = True
        return found

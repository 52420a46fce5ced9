"""The versions that are served: in what state, and loaded when."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from classifier.bundle import Bundle
from classifier.versions import Version, with_int8_forms
from serving.predictor import Predictor
from serving.registry_watch import RegistryWatch
from serving.served_names import ServedNames
from serving.slot import Slot, State

logger = logging.getLogger(__name__)

TRY_AGAIN_SECONDS = 60.0
"""Before a version that could not replace another is tried again."""


class NotReady(RuntimeError):
    """The version is being loaded, or could not be."""


@dataclass(frozen=True)
class VersionStatus:
    """A version as `GET /versions` shows it."""

    version: Version
    state: State
    reason: str | None
    predictor: Predictor | None
    is_served: bool
    """Also of one that is loaded when it is first asked for."""


class PredictorPool:
    """Versions of a list are loaded from the start; with `all` they are when they are
    first asked for, at most `max_loaded` at a time.

    An alias, `latest` and the default of `all` are followed: the version that they
    newly name is loaded, checked and warm before it takes the place of the old one.
    """

    def __init__(
        self,
        watch: RegistryWatch,
        open_predictor: Callable[[Version], Predictor],
        *,
        model: str,
        listed: tuple[str, ...],
        max_loaded: int,
    ) -> None:
        """UnknownVersion where a listed version is not in the registry, or none is."""
        self.model = model
        self._watch = watch
        self._open_predictor = open_predictor
        self._max_loaded = max_loaded
        self._names = ServedNames(watch, model=model, listed=listed)
        self._slots = {n: Slot(self._names.find(n)) for n in self._names.numbers}
        self._failures: dict[str, tuple[str, float]] = {}
        """Of versions without a slot: the reason, and when, by time.monotonic()."""

        self._lock = threading.Lock()
        self._changing = threading.Lock()  # held for seconds, and by no request
        self._started = threading.Event()
        self.start_failure: str | None = None
        """Why it will never be ready; None while it may."""

    def state(self) -> dict[str, Any]:
        """What is served, for another process of the same service."""
        return self._names.state()

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Serves what another process does; before anything is loaded."""
        self._names.adopt(state)
        self._slots = {n: Slot(self._names.find(n)) for n in self._names.numbers}

    def load_wanted(self) -> None:
        """Loads what is served from the start; raises the first failure."""
        self._watch.start(self.follow)
        for slot in list(self._slots.values()):
            if not slot.load(self._open_predictor):
                self.start_failure = f"version {slot.version.number}: {slot.failure}"
                assert slot.error is not None
                raise slot.error
        self._started.set()

    @property
    def is_ready(self) -> bool:
        return self._started.is_set()

    @property
    def registry_is_up(self) -> bool:
        return self._watch.is_up

    @property
    def wanted(self) -> list[str]:
        """What is served from the start, by name; of `all`, the default's number."""
        return self._names.wanted

    def get(self, asked: str | None) -> Predictor:
        """The version's predictor; None asks for the default one.

        UnknownVersion lists what is served; NotReady says why.
        """
        while True:
            number = self._names.resolve(asked)
            slot = self._slots.get(number) or self._open_slot(number)
            if slot is not None:
                slot.last_used = time.monotonic()
                predictor = slot.predictor or self._load_on_demand(slot)
                if predictor is not None:
                    return predictor
            # Else it was moved, or taken away, between the name and its use.

    def add(self, asked: str) -> VersionStatus:
        """Serves it from now on, and returns when it is ready.

        UnknownVersion, or NotReady with the reason: then all is as it was.
        """
        # Outside, as it may wait for the registry's thread, which may wait to change.
        version = self._names.find(asked)
        with self._changing:
            slot = self._load_unseen(version)
            if slot.failure is not None:
                raise NotReady(
                    f"version {version.number} cannot be served: {slot.failure}"
                )
            self._show(slot)
            self._names.add(asked, version.number)
            return self.status(version.number)

    def remove(self, asked: str) -> VersionStatus:
        """Serves it no more; what it was asked is answered. UnknownVersion."""
        number = self._names.resolve(asked)
        with self._changing:
            self._names.remove(number)
            self._drop(number)
            return self.status(number)

    def read_registry(self) -> None:
        """Now, and follows what has moved."""
        self._watch.read()
        self.follow()

    def follow(self) -> None:
        """Moves the names whose version has changed in the registry."""
        # A change under way holds up no reading of the registry; the next one follows.
        if not self.is_ready or not self._changing.acquire(blocking=False):
            return
        try:
            for name, version in list(self._names.moved()):
                if self._may_try(version):
                    self._move(name, version)
        finally:
            self._changing.release()

    def close(self) -> None:
        """Ends its threads; what was asked is answered."""
        self._watch.close()
        for slot in list(self._slots.values()):
            slot.unload()

    def seconds_to_wait(self) -> float:
        """What is queued still takes, where most is."""
        ready = [slot.predictor for slot in list(self._slots.values())]
        return max((p.seconds_to_wait for p in ready if p is not None), default=0.0)

    def loaded(self) -> list[VersionStatus]:
        """Those in memory that answer."""
        return [status for status in self.statuses() if status.predictor is not None]

    def bundle(self, status: VersionStatus) -> Bundle:
        """The version's files, also of one that is not loaded."""
        if status.predictor is not None:
            return status.predictor.bundle
        return self._watch.bundle(status.version)

    def statuses(self) -> list[VersionStatus]:
        """All versions of the registry and their int8 forms, as it was last read."""
        return [self._status(v) for v in with_int8_forms(self._watch.versions)]

    def status(self, asked: str) -> VersionStatus:
        """UnknownVersion where the registry has no such version."""
        return self._status(self._names.find(asked))

    def served_status(self, asked: str | None) -> VersionStatus:
        """As `get` finds it, and without loading it; UnknownVersion."""
        return self.status(self._names.resolve(asked))

    def _status(self, version: Version) -> VersionStatus:
        slot = self._slots.get(version.number)
        reason, _ = self._failures.get(version.number, (None, 0.0))
        state: State = "available" if reason is None else "failed"
        predictor = None
        if slot is not None:
            state, reason, predictor = slot.state, slot.failure, slot.predictor
        is_served = self._names.has(version.number)
        return VersionStatus(version, state, reason, predictor, is_served)

    def _open_slot(self, number: str) -> Slot | None:
        """With `all`, a place for a version that is asked for the first time."""
        if not self._names.all:
            return None
        version = self._names.find(number)
        with self._lock:
            gone = [] if number in self._slots else self._make_room()
            slot = self._slots.setdefault(number, Slot(version))
        for old in gone:
            old.unload()
        return slot

    def _load_on_demand(self, slot: Slot) -> Predictor | None:
        """One request loads, the others that want the version wait for it.

        None where it is no longer served; NotReady says why it could not be loaded.
        """
        number, predictor = slot.version.number, slot.predictor
        if self._names.all and self.is_ready:
            predictor = slot.load(self._open_predictor)
            if predictor is None:
                # It would take the place of a version that can be loaded.
                self._fail(slot)
                with self._lock:
                    self._slots.pop(number, None)
        elif self._slots.get(number) is not slot:
            return None
        if predictor is None:
            raise NotReady(
                f"version {number} is {slot.state}: {slot.failure or 'try again soon'}"
            )
        return predictor

    def _make_room(self) -> list[Slot]:
        """Takes the least recently used out, the default last; holds the lock."""
        gone = []
        while len(self._slots) >= self._max_loaded:
            default = self._names.numbers
            oldest = min(
                self._slots.values(),
                key=lambda slot: (slot.version.number in default, slot.last_used),
            )
            gone.append(self._slots.pop(oldest.version.number))
        return gone

    def _may_try(self, version: Version) -> bool:
        if version.number not in self._failures:
            return True
        _, failed_at = self._failures[version.number]
        return time.monotonic() - failed_at >= TRY_AGAIN_SECONDS

    def _move(self, name: str, version: Version) -> None:
        """Load, check, warm, switch, drain the old one; or leave all as it is."""
        slot = self._load_unseen(version)
        if slot.failure is not None:
            logger.error("kept name=%s, as version=%s fails", name, version.number)
            return
        old = set(self._names.numbers)
        self._show(slot)
        self._names.move(name, version.number)
        logger.info("moved name=%s to version=%s", name or "default", version.number)
        for number in old - set(self._names.numbers):
            self._drop(number)

    def _load_unseen(self, version: Version) -> Slot:
        """The slot there is, or a new one that no request finds yet."""
        slot = self._slots.get(version.number) or Slot(version)
        if slot.load(self._open_predictor):
            self._failures.pop(version.number, None)
        else:
            self._fail(slot)
        return slot

    def _fail(self, slot: Slot) -> None:
        self._failures[slot.version.number] = (str(slot.failure), time.monotonic())

    def _show(self, slot: Slot) -> None:
        with self._lock:
            is_new = slot.version.number not in self._slots
            gone = self._make_room() if self._names.all and is_new else []
            self._slots[slot.version.number] = slot
        for old in gone:
            old.unload()

    def _drop(self, number: str) -> None:
        with self._lock:
            slot = self._slots.pop(number, None)
        if slot is not None:
            slot.unload()

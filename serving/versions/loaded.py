"""Versions in memory: slots, status and failures, and which is unloaded first."""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import starmap

from classifier.store.versions import Version, typed_name
from serving.inference.predictor import Predictor
from serving.versions.registry_watch import VersionFiles
from serving.versions.slot import (
    NotReady,
    Slot,
    State,
    VersionFailed,
    cannot_load,
    is_final,
    public_reason,
)

LEAST_LOADING = 4
"""Versions that requests may load at once (or `most`, if larger): each takes memory,
and requests for every version of a registry would take all memory."""

TRY_AGAIN_SECONDS = 60.0
"""Time before a version that failed to replace another is tried again."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a version could not be loaded the last time."""

    reason: str
    is_final: bool
    """Another try fails too, while the version and its files are the same."""

    failed_at: float
    """A time of time.monotonic()."""

    version: Version
    files: VersionFiles | None

    def holds_for(self, version: Version) -> bool:
        """Whether the failure is final and the version and its files are the same."""
        if not self.is_final:
            return False
        # An int8 form that was made again has another logged model.
        is_same = version.model_id == self.version.model_id
        return is_same and not (self.files is not None and self.files.have_changed)


@dataclass(frozen=True)
class VersionStatus:
    """A version as `GET /versions` shows it."""

    version: Version
    state: State
    reason: str | None
    is_final: bool
    """The version failed, and another try would fail too."""

    predictor: Predictor | None
    is_served: bool
    """True also for a version that is loaded at its first request."""


@dataclass(frozen=True)
class Removed:
    """A version that is no longer served, and the names that it had."""

    status: VersionStatus
    names: list[str]


class LoadedVersions:
    """Slots by the names of versions. A slot that is removed is closed and never loaded
    again; callers that wait for it look for a new one.
    """

    def __init__(
        self,
        versions: Iterable[Version],
        open_predictor: Callable[[Version], Predictor],
        *,
        most: int | None,
        most_waiting: int = 28,
        last: Callable[[], Collection[str]],
        files: Callable[[Version], VersionFiles | None] = lambda version: None,
    ) -> None:
        """At most `most` versions are ready, besides those that are loading; names in
        `last` are unloaded last. `files` returns the state of a version's files before
        they were read. At most `most_waiting` requests wait for one version."""
        self._open_predictor = open_predictor
        self.restart(versions)
        self.most = most
        self._most_waiting = most_waiting
        self._last = last
        self._files = files
        self._lock = threading.Lock()
        self._failures: dict[str, Failure] = {}

    def restart(self, versions: Iterable[Version]) -> None:
        """Replaces all slots by empty ones; called before anything is loaded."""
        self.slots = {v.name: Slot(v, self._open_predictor) for v in versions}

    def __iter__(self) -> Iterator[Slot]:
        return iter(list(self.slots.values()))

    def status(
        self,
        version: Version,
        *,
        is_served: bool,
        kept: Callable[[str], Mapping[str, str]],
    ) -> VersionStatus:
        """`kept(number)` has the names that the registry gives to the version and that
        still mean another one here, each with the number of that one."""
        slot = self.slots.get(version.name)
        failure = self._failures.get(version.name)
        if slot is not None:
            state, reason, predictor = slot.state, slot.failure, slot.predictor
            is_failed_for_good = slot.error is not None and is_final(slot.error)
        elif failure is not None:
            state, reason, predictor = "failed", failure.reason, None
            is_failed_for_good = failure.is_final
        else:
            return VersionStatus(version, "available", None, False, None, is_served)
        if reason is not None:
            names = kept(version.name).items()
            reason = "; ".join([reason, *starmap(_kept, names)])
        return VersionStatus(
            version, state, reason, is_failed_for_good, predictor, is_served
        )

    def may_try(self, version: Version) -> bool:
        """False if the version failed recently or finally."""
        failure = self._failures.get(version.name)
        if failure is None:
            return True
        if failure.is_final:
            return not failure.holds_for(version)
        return time.monotonic() - failure.failed_at >= TRY_AGAIN_SECONDS

    def check(self, version: Version) -> None:
        """Raises VersionFailed if the version failed finally."""
        failure = self._failures.get(version.name)
        if failure is not None and failure.holds_for(version):
            raise VersionFailed(
                f"version {version.name} cannot be loaded: {failure.reason}"
            )

    def open(self, version: Version, *, if_: Callable[[str], bool]) -> Slot | None:
        """The version's slot, or a new one; None if `if_` forbids its number.

        `if_` is called under the lock, so that a removal meanwhile finds this slot.
        """
        with self._lock:
            if not if_(version.name):
                return None
            return self.slots.setdefault(
                version.name, Slot(version, self._open_predictor)
            )

    def prepare(self, version: Version) -> Slot:
        """A loaded slot; requests find a new one after `show`. Raises NotReady.

        Tries again even after a final failure.
        """
        while True:
            slot = self.slots.get(version.name) or Slot(version, self._open_predictor)
            predictor = slot.load(again=True)
            error = slot.error
            if predictor is not None:
                return slot
            if error is not None:
                raise self.fail(slot, error) from error
            # Else the slot was removed meanwhile.

    def show(self, slot: Slot) -> bool:
        """Lets requests find a prepared slot; False if it was removed meanwhile."""
        number = slot.version.name
        with self._lock:
            if slot.is_closed:
                return False
            other = self.slots.get(number, slot)
            if other is not slot:
                self._take_out(other)
            self.slots[number] = slot
        if other is not slot:
            other.unload()
        self._failures.pop(number, None)
        self._make_room(newest=slot)
        return True

    def load(self, version: Version) -> None:
        """Loads the version and lets requests find it. Raises NotReady."""
        while not self.show(self.prepare(version)):
            pass

    def give_up(self, slot: Slot) -> None:
        """Unloads a prepared slot, unless requests can find it."""
        if self.slots.get(slot.version.name) is not slot:
            slot.unload()

    def load_on_demand(
        self, slot: Slot, *, deadline: float = math.inf
    ) -> Predictor | None:
        """Loads the slot, or waits while another request loads it.

        None if the slot was removed. Raises DeadlinePassed, or NotReady if the load
        fails or too many requests wait or load.
        """
        number = slot.version.name
        self._check_loads(slot)
        if slot.waiting >= self._most_waiting:
            raise NotReady(
                f"version {number} is being loaded, and {slot.waiting} requests wait "
                f"for it; try again soon"
            )
        predictor = slot.load(deadline=deadline, settle=partial(self._settle, slot))
        error = slot.error
        if predictor is None and error is not None:
            failed = self.fail(slot, error)
            self.drop(slot)
            raise failed
        return predictor

    def _check_loads(self, slot: Slot) -> None:
        """Drops the slot and raises NotReady if too many others are loading."""
        loading = sum(other.is_loading for other in self)
        if slot.is_loading or loading < max(LEAST_LOADING, self.most or 0):
            return
        self.drop(slot)
        raise NotReady(
            f"version {slot.version.name} is not loaded, and {loading} others are "
            f"being loaded; try again soon"
        )

    def _settle(self, slot: Slot) -> None:
        """Records the result of a load, even if no request waits any more."""
        if slot.predictor is not None:
            self._failures.pop(slot.version.name, None)
            self._make_room(newest=slot)
        elif slot.error is not None:
            self.fail(slot, slot.error)
            self.drop(slot)

    def fail(self, slot: Slot, error: Exception) -> NotReady:
        """Records the failure and returns the error for clients."""
        self._failures[slot.version.name] = Failure(
            reason=public_reason(error),
            is_final=is_final(error),
            failed_at=time.monotonic(),
            version=slot.version,
            files=self._files(slot.version),
        )
        return cannot_load(slot.version.name, error)

    def drop(self, slot: Slot | None) -> None:
        """Removes and unloads the slot; blocks until pending requests are answered."""
        if slot is None:
            return
        with self._lock:
            self._take_out(slot)
        slot.unload()

    def _make_room(self, *, newest: Slot) -> None:
        """Unloads the least used versions. Called after a load succeeded, so that a
        version that fails evicts none."""
        if self.most is None:
            return
        last = self._last()
        with self._lock:
            ready = [slot for slot in self.slots.values() if slot.predictor]
            others = [slot for slot in ready if slot is not newest]
            others.sort(key=lambda s: (s.version.name in last, s.last_used))
            gone = others[: max(0, len(ready) - self.most)]
            for slot in gone:
                self._take_out(slot)
        for slot in gone:
            slot.unload()

    def _take_out(self, slot: Slot) -> None:
        """The caller holds the lock, and unloads the slot after releasing it."""
        # Closed before it is unloaded: no request then starts to load it, and a load
        # that runs unloads its result.
        slot.is_closed = True
        if self.slots.get(slot.version.name) is slot:
            del self.slots[slot.version.name]


def _kept(name: str, number: str) -> str:
    if name:
        return f"{name} is still {typed_name(number)}"
    return f"{typed_name(number)} answers where no version is named"

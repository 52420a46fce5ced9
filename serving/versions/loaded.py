"""Versions in memory or on their way there; of too many the longest unused goes."""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import starmap

from classifier.store.versions import Version
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
"""Versions that requests may load at once, or as many as may be ready: each takes
memory, and a request for every version of a registry would take it all."""

TRY_AGAIN_SECONDS = 60.0
"""Before a version that could not replace another is tried again."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a version could not be loaded the last time."""

    reason: str
    message: str
    """For who asks for it."""

    is_final: bool
    """Another try ends alike, as long as the version and its files are the same."""

    failed_at: float
    """A time of time.monotonic()."""

    version: Version
    files: VersionFiles | None

    def holds_for(self, version: Version) -> bool:
        """Whether it is still known that the version cannot be loaded."""
        if not self.is_final:
            return False
        # An int8 form that was made again is another logged model.
        is_same = version.model_id == self.version.model_id
        return is_same and not (self.files is not None and self.files.have_changed)

    def is_fresh(self) -> bool:
        return time.monotonic() - self.failed_at < TRY_AGAIN_SECONDS


@dataclass(frozen=True)
class VersionStatus:
    """A version as `GET /versions` shows it."""

    version: Version
    state: State
    reason: str | None
    is_final: bool
    """Failed, and for good as it is."""

    predictor: Predictor | None
    is_served: bool
    """Also of one that is loaded when it is first asked for."""


@dataclass(frozen=True)
class Removed:
    """A version that is served no more, and the names that stood for it."""

    status: VersionStatus
    names: list[str]


class LoadedVersions:
    """Slots by number. One that is taken out is closed, and is never loaded again:
    who waits for it looks for another.
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
        """At most `most` are ready, and those beside them that are being loaded; the
        numbers of `last` are the last to go. `files` are those that were read;
        `most_waiting` requests wait for a version that is loaded on demand."""
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
        self.slots = {v.number: Slot(v, self._open_predictor) for v in versions}

    def __iter__(self) -> Iterator[Slot]:
        return iter(list(self.slots.values()))

    def failure(self, number: str) -> Failure | None:
        """None where the version loaded the last time, or was never tried."""
        return self._failures.get(number)

    def status(
        self,
        version: Version,
        *,
        is_served: bool,
        kept: Callable[[str], Mapping[str, str]],
    ) -> VersionStatus:
        """`kept(number)` has the names that the registry gives to the version and that
        still mean another one here, each with the number of that one."""
        slot, failure = self.slots.get(version.number), self.failure(version.number)
        if slot is not None:
            state, reason, predictor = slot.state, slot.failure, slot.predictor
            is_failed_for_good = slot.error is not None and is_final(slot.error)
        elif failure is not None:
            state, reason, predictor = "failed", failure.reason, None
            is_failed_for_good = failure.is_final
        else:
            return VersionStatus(version, "available", None, False, None, is_served)
        if reason is not None:
            names = kept(version.number).items()
            reason = "; ".join([reason, *starmap(_kept, names)])
        return VersionStatus(
            version, state, reason, is_failed_for_good, predictor, is_served
        )

    def may_try(self, version: Version) -> bool:
        """Whether it has not failed just now, nor for good."""
        failure = self._failures.get(version.number)
        if failure is None:
            return True
        return not (
            failure.holds_for(version) if failure.is_final else failure.is_fresh()
        )

    def check(self, version: Version) -> None:
        """VersionFailed where it is known that it cannot be loaded."""
        failure = self._failures.get(version.number)
        if failure is not None and failure.holds_for(version):
            raise VersionFailed(failure.message)

    def open(self, version: Version, *, if_: Callable[[str], bool]) -> Slot | None:
        """The slot there is, or an empty one; None if its number may not have one.

        That is asked here, so that who closes slots of such numbers finds this one.
        """
        with self._lock:
            if not if_(version.number):
                return None
            return self.slots.setdefault(
                version.number, Slot(version, self._open_predictor)
            )

    def prepare(self, version: Version) -> Slot:
        """The slot there is, loaded, or one that requests find after `show`;
        NotReady.

        Also where it is known that it cannot be loaded: this is another try.
        """
        while True:
            slot = self.slots.get(version.number) or Slot(version, self._open_predictor)
            predictor = slot.load(again=True)
            error = slot.error
            if predictor is not None:
                return slot
            if error is not None:
                raise self.fail(slot, error) from error
            # Else it was taken out meanwhile.

    def show(self, slot: Slot) -> bool:
        """From now on requests find what was prepared; False where it was taken out
        meanwhile."""
        if not self._show(slot):
            return False
        self._failures.pop(slot.version.number, None)
        self._make_room(newest=slot)
        return True

    def load(self, version: Version) -> None:
        """Requests find it when this returns; NotReady."""
        while not self.show(self.prepare(version)):
            pass

    def give_up(self, slot: Slot) -> None:
        """Unloads what was prepared, if no request can find it."""
        if self.slots.get(slot.version.number) is not slot:
            slot.unload()

    def load_on_demand(
        self, slot: Slot, *, deadline: float = math.inf
    ) -> Predictor | None:
        """All requests that want the version wait for it; DeadlinePassed.

        None where it was taken out; NotReady, and the slot is closed, or too many wait.
        """
        number = slot.version.number
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
        """NotReady, and the slot is closed, where too many others are being loaded."""
        loading = sum(other.is_loading for other in self)
        if slot.is_loading or loading < max(LEAST_LOADING, self.most or 0):
            return
        self.drop(slot)
        raise NotReady(
            f"version {slot.version.number} is not loaded, and {loading} others are "
            f"being loaded; try again soon"
        )

    def _settle(self, slot: Slot) -> None:
        """Also where nobody has waited so long."""
        if slot.predictor is not None:
            self._failures.pop(slot.version.number, None)
            self._make_room(newest=slot)
        elif slot.error is not None:
            self.fail(slot, slot.error)
            self.drop(slot)

    def fail(self, slot: Slot, error: Exception) -> NotReady:
        """Keeps why it could not be loaded; the error for who asks for it."""
        failed = cannot_load(slot.version.number, error)
        self._failures[slot.version.number] = Failure(
            reason=public_reason(error),
            message=str(failed),
            is_final=is_final(error),
            failed_at=time.monotonic(),
            version=slot.version,
            files=self._files(slot.version),
        )
        return failed

    def drop(self, slot: Slot | None) -> None:
        """Returns when what it was asked is answered."""
        if slot is None:
            return
        with self._lock:
            self._take_out(slot)
        slot.unload()

    def _show(self, slot: Slot) -> bool:
        """Requests find it from now on; False if it was taken out meanwhile."""
        with self._lock:
            if slot.is_closed:
                return False
            other = self.slots.get(slot.version.number, slot)
            if other is not slot:
                self._take_out(other)
            self.slots[slot.version.number] = slot
        if other is not slot:
            other.unload()
        return True

    def _make_room(self, *, newest: Slot) -> None:
        """After it was loaded: what cannot be loaded takes no other's place."""
        if self.most is None:
            return
        last = self._last()
        with self._lock:
            ready = [slot for slot in self.slots.values() if slot.predictor]
            others = [slot for slot in ready if slot is not newest]
            others.sort(key=lambda s: (s.version.number in last, s.last_used))
            gone = others[: max(0, len(ready) - self.most)]
            for slot in gone:
                self._take_out(slot)
        for slot in gone:
            slot.unload()

    def _take_out(self, slot: Slot) -> None:
        """Holds the lock; who calls this unloads the slot, without the lock."""
        # Before it is unloaded: who comes to load it between the two, or after, does
        # not, and what is being loaded just now is unloaded when it is.
        slot.is_closed = True
        if self.slots.get(slot.version.number) is slot:
            del self.slots[slot.version.number]


def _kept(name: str, number: str) -> str:
    if name:
        return f"{name} is still v{number}"
    return f"v{number} answers where no version is named"

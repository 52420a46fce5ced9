"""The versions that are served: which, in what state, and loaded when."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from classifier.bundle import BrokenBundle, Bundle, QuantisedBundle, read_bundle
from classifier.registry import Registry, StoreUnavailable
from classifier.versions import (
    UnknownVersion,
    Version,
    find_version,
    with_int8_forms,
)
from serving.backend import DeviceUnavailable
from serving.predictor import FailedCheck, Predictor

logger = logging.getLogger(__name__)

State = Literal["ready", "loading", "failed", "available"]

PUBLIC_FAILURES = (BrokenBundle, DeviceUnavailable, FailedCheck, QuantisedBundle)
"""Their messages name files of a version, and no folder of this machine."""


class NotReady(RuntimeError):
    """The version is being loaded, or could not be."""


@dataclass
class _Slot:
    """A version with a place in memory: loaded, being loaded, or failed."""

    version: Version
    loading: threading.Lock = field(default_factory=threading.Lock)
    predictor: Predictor | None = None
    failure: str | None = None
    """What a client may know of it."""

    error: Exception | None = None
    last_used: float = 0.0

    @property
    def state(self) -> State:
        if self.predictor is not None:
            return "ready"
        return "loading" if self.failure is None else "failed"


@dataclass(frozen=True)
class VersionStatus:
    """A version as `GET /versions` shows it."""

    version: Version
    state: State
    reason: str | None
    predictor: Predictor | None


class PredictorPool:
    """Serves a list of versions and those alone, or, without a list, all there are.

    All are loaded when they are first asked for, at most `max_loaded` at a time.
    """

    def __init__(
        self,
        registry: Registry,
        open_predictor: Callable[[Version], Predictor],
        *,
        model: str,
        listed: tuple[str, ...],
        max_loaded: int,
    ) -> None:
        """UnknownVersion where a listed version is not in the registry, or none is."""
        self.model = model
        self._registry = registry
        self._open_predictor = open_predictor
        self._max_loaded = max_loaded
        self._serves_all = not listed
        self._lock = threading.Lock()
        self._known = registry.versions(model)
        wanted = [find_version(self._known, asked, model=model) for asked in listed]
        if self._serves_all:
            wanted = [self._preferred()]
        self._slots = {version.number: _Slot(version) for version in wanted}
        self._first = wanted[0].number
        self._started = threading.Event()
        self.start_failure: str | None = None
        """Why it will never be ready; None while it may."""

    def load_wanted(self) -> None:
        """Loads what is served from the start; raises the first failure."""
        for slot in list(self._slots.values()):
            self._load(slot)
            if slot.error is not None:
                self.start_failure = f"version {slot.version.number}: {slot.failure}"
                raise slot.error
        self._started.set()

    @property
    def is_ready(self) -> bool:
        return self._started.is_set()

    def get(self, asked: str | None) -> Predictor:
        """The version's predictor; None asks for the default one.

        UnknownVersion lists what is served; NotReady says why.
        """
        number = self._resolve(asked).number
        with self._lock:
            slot = self._slots.get(number)
            if slot is None:
                slot = self._make_room(number)
            slot.last_used = time.monotonic()
        if slot.predictor is None and self._serves_all and self.is_ready:
            self._load_on_demand(slot)
        if slot.predictor is None:
            raise NotReady(
                f"version {number} is {slot.state}: {slot.failure or 'try again soon'}"
            )
        return slot.predictor

    def statuses(self) -> list[VersionStatus]:
        """All versions of the registry and their int8 forms, as it was last read."""
        self._refresh()
        with self._lock:
            slots = dict(self._slots)
        return [
            _status(version, slots.get(version.number))
            for version in with_int8_forms(self._known)
        ]

    def status(self, asked: str) -> VersionStatus:
        """UnknownVersion where the registry has no such version."""
        version = self._find_known(asked)
        with self._lock:
            return _status(version, self._slots.get(version.number))

    def bundle(self, status: VersionStatus) -> Bundle:
        """The version's files, also of one that is not loaded."""
        if status.predictor is not None:
            return status.predictor.bundle
        return read_bundle(self._registry.fetch(status.version))

    def _resolve(self, asked: str | None) -> Version:
        if asked is None:
            if not self._serves_all:
                return self._slots[self._first].version
            return self._preferred()
        if self._serves_all:
            return self._find_known(asked)
        # The slots of a list stay as they are; without one they come and go.
        served = [slot.version for slot in self._slots.values()]
        refusal = UnknownVersion(
            f"version {asked!r} is not served; this service answers with "
            f"{', '.join(f'v{version.number}' for version in served)}; see GET "
            f"/versions"
        )
        try:
            found = find_version(served, asked, model=self.model)
        except UnknownVersion as error:
            raise refusal from error
        if found.number not in self._slots:  # the int8 form of one that is served
            raise refusal
        return found

    def _find_known(self, asked: str) -> Version:
        """In the registry as last read; read again where it is not there."""
        try:
            return find_version(self._known, asked, model=self.model)
        except UnknownVersion:
            self._refresh()
            return find_version(self._known, asked, model=self.model)

    def _preferred(self) -> Version:
        """`best`, else the latest."""
        for version in self._known:
            if "best" in version.aliases:
                return version
        return find_version(self._known, "latest", model=self.model)

    def _refresh(self) -> None:
        try:
            self._known = self._registry.versions(self.model)
        except StoreUnavailable as error:
            logger.warning("registry unavailable reason=%s", error)

    def _make_room(self, number: str) -> _Slot:
        """A new slot, after the least recently used have gone; holds the lock."""
        while len(self._slots) >= self._max_loaded:
            oldest = min(self._slots.values(), key=lambda slot: slot.last_used)
            del self._slots[oldest.version.number]
            logger.info("unloaded version=%s", oldest.version.number)
        version = find_version(self._known, number, model=self.model)
        slot = self._slots[number] = _Slot(version)
        return slot

    def _load_on_demand(self, slot: _Slot) -> None:
        """One request loads, the others that want the version wait for it."""
        with slot.loading:
            if slot.predictor is None:
                self._load(slot)
            if slot.predictor is None:
                # A failed slot would keep the version from ever being tried again.
                with self._lock:
                    self._slots.pop(slot.version.number, None)

    def _load(self, slot: _Slot) -> None:
        """Leaves the slot ready, or failed with the reason."""
        started = time.perf_counter()
        slot.failure = slot.error = None
        try:
            predictor = self._open_predictor(slot.version)
            predictor.warm_up()
        # Whatever it is, it must not leave the version loading for good.
        except Exception as error:
            slot.error, slot.failure = error, public_reason(error)
            known = isinstance(error, (*PUBLIC_FAILURES, StoreUnavailable, OSError))
            logger.error(
                "failed version=%s reason=%s",
                slot.version.number,
                error,
                exc_info=None if known else error,
            )
            return
        slot.predictor = predictor
        logger.info(
            "loaded version=%s device=%s seconds=%.2f",
            slot.version.number,
            predictor.backend.device,
            time.perf_counter() - started,
        )


def public_reason(error: Exception) -> str:
    """What a client may know of a failure: no path of ours."""
    if isinstance(error, PUBLIC_FAILURES):
        return str(error)
    return "its files cannot be read now; the service's log says why"


def _status(version: Version, slot: _Slot | None) -> VersionStatus:
    if slot is None:
        return VersionStatus(version, "available", None, None)
    return VersionStatus(version, slot.state, slot.failure, slot.predictor)

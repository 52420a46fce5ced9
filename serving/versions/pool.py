"""The pool of served versions: look-up, loading on demand, changes and moves."""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from classifier.bundle.files import BrokenBundle, Bundle
from classifier.store.location import StoreUnavailable
from classifier.store.versions import Version, with_int8_forms
from serving.inference.predictor import Predictor
from serving.versions.loaded import LoadedVersions, Removed, VersionStatus
from serving.versions.names import DEFAULT, Moves, ServedNames
from serving.versions.registry_watch import RegistryWatch
from serving.versions.slot import NotReady, Slot, cannot_load, load_side_by_side

logger = logging.getLogger(__name__)

AWAY = "the registry is away; served is what it had when it was last read"

FALLBACKS = 5
"""Number of other versions that are tried if the default of `all` fails to load."""


class PredictorPool:
    """Listed versions are loaded at the start; with `all`, each at its first request,
    at most `max_loaded` at a time.

    Aliases, `latest` and the default of `all` are followed: a newly named version is
    loaded, checked and warm before it replaces the old one.
    """

    def __init__(
        self,
        watch: RegistryWatch,
        open_predictor: Callable[[Version], Predictor],
        *,
        model: str,
        listed: tuple[str, ...],
        max_loaded: int,
        most_waiting: int = 28,
        stop_loads: Callable[[], None] = lambda: None,
        observe_default: Callable[[bool], None] = lambda is_other: None,
    ) -> None:
        """Raises UnknownVersion if a listed version, or any, is not in the registry.

        Listed names without a model are of `model`. At most `most_waiting` requests
        wait for a version that is loaded on demand. `observe_default` is called with
        whether the default of `all` is another version than `best`, else the latest,
        because that one cannot be loaded.
        """
        self._observe_default = observe_default
        self.open_predictor = open_predictor
        self.watch = watch
        self.stop_loads = stop_loads  # called when the process stops
        self.names = ServedNames(watch, model=model, listed=listed)
        self.most_at_once = max_loaded if self.names.all else None
        """Most versions in memory; None if all that are served are."""

        self.memory = LoadedVersions(
            map(self.names.find, self.names.numbers),
            open_predictor,
            most=self.most_at_once,
            most_waiting=most_waiting,
            last=lambda: self.names.numbers,
            files=watch.files,
        )
        self._changing = threading.Lock()  # no request and no load holds it
        self._moves = Moves()
        self.started = threading.Event()
        """Set when the versions that are served at the start are ready."""

        self.start_failure: str | None = None
        """The reason if the pool will never be ready."""

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Serves the versions of another process; called before any load.

        Versions that are no longer in the registry are left out.
        """
        # The other processes may serve newer versions than were read here.
        self.watch.read()
        self.names.adopt(state)
        self.memory.restart(map(self.names.find, self.names.numbers))

    def load_wanted(self) -> None:
        """Loads the versions that are served at the start. Raises NotReady if one
        fails.

        With `all`, another version replaces a default that fails.
        """
        self.watch.start(self._start_moves)
        slots = list(self.memory)
        loaded = load_side_by_side(slots)
        for slot, is_loaded in zip(slots, loaded, strict=True):
            if is_loaded or slot.is_closed or self._fall_back(slot):
                continue
            self.start_failure = f"version {slot.version.name}: {slot.failure}"
            assert slot.error is not None
            raise cannot_load(
                slot.version.name, slot.error, is_public=False
            ) from slot.error
        self._observe_default(self.names.is_default_kept)
        self.watch.keep(self.names.versions)
        self.started.set()

    @property
    def model(self) -> str:
        """The model of the version that answers where none is named."""
        return self.names.default_model

    @property
    def is_ready(self) -> bool:
        return self.started.is_set()

    def wait_until_ready(self) -> None:
        self.started.wait()

    def get(self, name: str | None, *, deadline: float = math.inf) -> Predictor:
        """The predictor of a version; of the default one if `name` is None.

        Raises UnknownVersion, NotReady with the reason, or DeadlinePassed if it is
        still loading at `deadline`, a time of time.monotonic().
        """
        while True:
            number = self.names.resolve(name)
            slot = self.memory.slots.get(number) or self._open_slot(number)
            if slot is not None:
                slot.last_used = time.monotonic()
                predictor = slot.predictor or self._load_on_demand(slot, deadline)
                if predictor is not None:
                    return predictor
            # Else the version was moved or removed after its name was resolved.

    @contextmanager
    def prepared(self, number: str) -> Iterator[Slot]:
        """Loads a version to be added; unloads it if it is not added.

        Raises UnknownVersion or NotReady.
        """
        slot = self.memory.prepare(self.names.find(number))
        try:
            yield slot
        finally:
            self.memory.give_up(slot)

    def add(
        self, name: str, *, number: str | None = None, prepared: Slot | None = None
    ) -> VersionStatus:
        """Serves a version from now on; returns when it is ready.

        `number` is the version that the name then means. Raises UnknownVersion or
        NotReady; then nothing has changed.
        """
        # Before the lock: this may wait for the registry's thread, which may wait for
        # it.
        version = self.names.in_registry(name if number is None else number)
        slot = prepared
        while True:
            slot = slot or self.memory.prepare(version)
            with self._changing:
                if self.memory.show(slot):
                    self._apply_and_unload(lambda: self.names.add(name, version))
                    return self._status(version)
            slot = None  # it was removed meanwhile

    def remove(self, name: str) -> Removed:
        """Stops serving a version, after its pending requests. Raises
        UnknownVersion."""
        number = self.names.resolve(name)
        version = self._version(number)
        with self._changing:
            names = self.names.of(number)
            self._take_away(number, names)
            return Removed(self._status(version), names)

    def take_away(self, number: str, names: Collection[str]) -> bool:
        """Removes names, and the version if no other name means it. Missing ones are no
        error. Returns whether the version is still served."""
        with self._changing:
            self._take_away(number, names)
            return self.names.has(number)

    def read_registry(self) -> None:
        """Reads the registry now and moves the names that have changed."""
        self.watch.read()
        self.follow()

    def follow(self) -> None:
        """Moves the names whose version has changed in the registry."""
        for moving in self._start_moves():
            moving.join()

    def _start_moves(self) -> list[threading.Thread]:
        moved = list(self.names.moved()) if self.is_ready else []
        moving = [
            self._moves.start(name, partial(self._move, name, version))
            for name, version in moved
            if self.memory.may_try(version)
        ]
        self._observe_default(self.names.is_default_kept)
        if self.is_ready:
            self.watch.keep(self.names.versions)
        return [thread for thread in moving if thread is not None]

    def close(self) -> None:
        """Ends the pool's threads after pending requests are answered."""
        self.watch.close()
        for slot in self.memory:
            slot.unload()

    def seconds_to_wait(self) -> float:
        """Estimated seconds of the longest queue."""
        ready = [slot.predictor for slot in self.memory]
        return max(
            (p.batcher.seconds_to_wait for p in ready if p is not None), default=0.0
        )

    def loaded(self) -> list[VersionStatus]:
        """Status of the versions that are ready."""
        return [status for status in self.statuses() if status.predictor is not None]

    def bundle(self, status: VersionStatus) -> Bundle:
        """A version's files, loaded or not. Raises NotReady."""
        if status.predictor is not None:
            return status.predictor.bundle
        try:
            return self.watch.bundle(status.version)
        except (BrokenBundle, StoreUnavailable, OSError) as error:
            number = status.version.name
            logger.error("unreadable version=%s reason=%s", number, error)
            raise cannot_load(number, error) from error

    def statuses(self) -> list[VersionStatus]:
        """Status of all versions and int8 forms of the registry, as last read."""
        return [self._status(v) for v in with_int8_forms(self.names.versions)]

    def status(self, name: str) -> VersionStatus:
        """Status of a version, served or not. Raises UnknownVersion."""
        return self._status(self._version(self.names.meaning(name)))

    def served_status(self, name: str | None) -> VersionStatus:
        """Status of a served version, without loading it. Raises UnknownVersion."""
        return self._status(self._version(self.names.resolve(name)))

    def _version(self, number: str) -> Version:
        """The registry's entry, or that in memory if the registry has none."""
        known = {v.name: v for v in with_int8_forms(self.names.versions)}
        slot = self.memory.slots.get(number)
        if number in known or slot is None:
            return known.get(number) or self.names.find(number)
        return slot.version

    def _status(self, version: Version) -> VersionStatus:
        status = self.memory.status(
            version,
            is_served=self.names.has(version.name),
            kept=self.names.kept,
        )
        if self.watch.started_without and status.state == "ready":
            return replace(status, reason=AWAY)
        return status

    def _open_slot(self, number: str) -> Slot | None:
        """With `all`, a slot for a version at its first request."""
        if not self.names.all:
            return None
        if not self.is_ready:
            raise NotReady("the versions to serve are being loaded; try again soon")
        version = self.names.find(number)
        self.memory.check(version)
        return self.memory.open(version, if_=self.names.has)

    def _load_on_demand(self, slot: Slot, deadline: float) -> Predictor | None:
        """None if the version was removed meanwhile. Raises NotReady."""
        if self.names.all and self.is_ready:
            return self.memory.load_on_demand(slot, deadline=deadline)
        number = slot.version.name
        if self.memory.slots.get(number) is not slot:
            return None
        if slot.error is not None:
            raise cannot_load(number, slot.error)
        raise NotReady(f"version {number} is being loaded; try again soon")

    def _fall_back(self, default: Slot) -> bool:
        """With `all`, makes the newest version that loads the default; False if none of
        FALLBACKS loads."""
        if not self.names.all:
            return False
        assert default.error is not None
        self.memory.fail(default, default.error)
        wanted = default.version.name
        for version in self.names.newest(FALLBACKS, but=wanted):
            try:
                self.memory.load(version)
            except NotReady:
                continue  # logged with its reason
            self.names.move(DEFAULT, version.name)
            self.memory.drop(default)
            logger.error("default fell back wanted=%s version=%s", wanted, version.name)
            return True
        return False

    def _move(self, name: str, version: Version) -> None:
        """Loads, checks and warms the version, switches, and drains the old one. After
        a failure nothing has changed."""
        try:
            slot = self.memory.prepare(version)
            with self._changing:
                self._switch(name, slot)
        except NotReady as error:
            logger.error("kept name=%s reason=%s", name or "default", error)
        self._observe_default(self.names.is_default_kept)

    def _switch(self, name: str, slot: Slot) -> None:
        """Lets the name mean the slot, unless the name has moved or was removed
        meanwhile: then the next reading decides."""
        version = slot.version
        wanted = {name: target.name for name, target in self.names.moved()}
        if wanted.get(name) != version.name or not self.memory.show(slot):
            self.memory.give_up(slot)
            return
        self._apply_and_unload(lambda: self.names.move(name, version.name))
        self.watch.keep(self.names.versions)
        logger.info("moved name=%s to version=%s", name or "default", version.name)

    def _take_away(self, number: str, names: Collection[str]) -> None:
        self._apply_and_unload(lambda: self.names.remove(number, names))
        if not self.names.has(number):
            self.memory.drop(self.memory.slots.get(number))

    def _apply_and_unload(self, change: Callable[[], None]) -> None:
        """Applies `change`, then unloads versions that no name refers to any more."""
        before = self.names.numbers
        change()
        for number in set(before) - set(self.names.numbers):
            self.memory.drop(self.memory.slots.get(number))

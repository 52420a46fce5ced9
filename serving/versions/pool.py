"""The versions that are served: in what state, and loaded when."""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
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

FALLBACKS = 5
"""Versions that are tried where the default of `all` cannot be loaded."""


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
        most_waiting: int = 28,
        stop_loads: Callable[[], None] = lambda: None,
        observe_default: Callable[[bool], None] = lambda is_other: None,
    ) -> None:
        """UnknownVersion where a listed version is not in the registry, or none is.

        `most_waiting` requests may wait for a version that is loaded on demand.
        `observe_default` is told whether another version than `best`, else the latest,
        is the default of `all`, as that one cannot be loaded.
        """
        self.model = model
        self._observe_default = observe_default
        self.watch = watch
        self.stop_loads = stop_loads  # as the process is about to end
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
        self._changing = threading.Lock()  # held by no request, and by no load
        self._moves = Moves()
        self._started = threading.Event()
        self.start_failure: str | None = None
        """Why it will never be ready; None while it may."""

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Serves what another process does; before anything is loaded.

        What the registry has no more is left out.
        """
        # What the others serve may be newer than what was read here.
        self.watch.read()
        self.names.adopt(state)
        self.memory.restart(map(self.names.find, self.names.numbers))

    def load_wanted(self) -> None:
        """Loads what is served from the start; NotReady for the first that fails.

        With `all`, another version takes the place of a default that fails; NotReady
        where none can.
        """
        self.watch.start(self._start_moves)
        slots = list(self.memory)
        loaded = load_side_by_side(slots)
        for slot, is_loaded in zip(slots, loaded, strict=True):
            if is_loaded or slot.is_closed or self._fall_back(slot):
                continue
            self.start_failure = f"version {slot.version.number}: {slot.failure}"
            assert slot.error is not None
            raise cannot_load(
                slot.version.number, slot.error, is_public=False
            ) from slot.error
        self._observe_default(self.names.is_default_kept)
        self._started.set()

    @property
    def is_ready(self) -> bool:
        return self._started.is_set()

    def get(self, asked: str | None, *, deadline: float = math.inf) -> Predictor:
        """The version's predictor; None asks for the default one.

        UnknownVersion lists what is served; NotReady says why. DeadlinePassed where it
        is still being loaded then, by time.monotonic().
        """
        while True:
            number = self.names.resolve(asked)
            slot = self.memory.slots.get(number) or self._open_slot(number)
            if slot is not None:
                slot.last_used = time.monotonic()
                predictor = slot.predictor or self._load_on_demand(slot, deadline)
                if predictor is not None:
                    return predictor
            # Else it was moved, or taken away, between the name and its use.

    @contextmanager
    def prepared(self, number: str) -> Iterator[Slot]:
        """Loaded before it is added; unloaded if it is not. UnknownVersion, NotReady"""
        slot = self.memory.prepare(self.names.find(number))
        try:
            yield slot
        finally:
            self.memory.give_up(slot)

    def add(
        self, asked: str, *, number: str | None = None, prepared: Slot | None = None
    ) -> VersionStatus:
        """Serves it from now on, and returns when it is ready; with `number` that is
        what the name stands for.

        UnknownVersion, or NotReady with the reason: then all is as it was.
        """
        # Outside, as it may wait for the registry's thread, which may wait to change.
        version = self.names.in_registry(asked if number is None else number)
        slot = prepared
        while True:
            slot = slot or self.memory.prepare(version)
            with self._changing:
                if self.memory.show(slot):
                    self._apply_and_unload(
                        lambda: self.names.add(asked, version.number)
                    )
                    return self._status(version)
            slot = None  # it was taken out meanwhile

    def remove(self, asked: str) -> Removed:
        """Serves it no more; what it was asked is answered. UnknownVersion."""
        number = self.names.resolve(asked)
        version = self._version(number)
        with self._changing:
            names = self.names.of(number)
            self._take_away(number, names)
            return Removed(self._status(version), names)

    def take_away(self, number: str, names: Collection[str]) -> bool:
        """The names, and the version where no other stands for it; what is gone is no
        error. Whether the version is still served."""
        with self._changing:
            self._take_away(number, names)
            return self.names.has(number)

    def read_registry(self) -> None:
        """Now, and follows what has moved."""
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
        return [thread for thread in moving if thread is not None]

    def close(self) -> None:
        """Ends its threads; what was asked is answered."""
        self.watch.close()
        for slot in self.memory:
            slot.unload()

    def seconds_to_wait(self) -> float:
        """What is queued still takes, where most is."""
        ready = [slot.predictor for slot in self.memory]
        return max(
            (p.batcher.seconds_to_wait for p in ready if p is not None), default=0.0
        )

    def loaded(self) -> list[VersionStatus]:
        """Those in memory that answer."""
        return [status for status in self.statuses() if status.predictor is not None]

    def bundle(self, status: VersionStatus) -> Bundle:
        """The version's files, also of one that is not loaded; NotReady."""
        if status.predictor is not None:
            return status.predictor.bundle
        try:
            return self.watch.bundle(status.version)
        except (BrokenBundle, StoreUnavailable, OSError) as error:
            number = status.version.number
            logger.error("unreadable version=%s reason=%s", number, error)
            raise cannot_load(number, error) from error

    def statuses(self) -> list[VersionStatus]:
        """All versions of the registry and their int8 forms, as it was last read."""
        return [self._status(v) for v in with_int8_forms(self.names.versions)]

    def status(self, asked: str) -> VersionStatus:
        """Status of the version that a name means, served or not; UnknownVersion."""
        return self._status(self._version(self.names.meaning(asked)))

    def served_status(self, asked: str | None) -> VersionStatus:
        """As `get` finds it, and without loading it; UnknownVersion."""
        return self._status(self._version(self.names.resolve(asked)))

    def _version(self, number: str) -> Version:
        """As the registry has it; what it has no more is still what is in memory."""
        known = {v.number: v for v in with_int8_forms(self.names.versions)}
        slot = self.memory.slots.get(number)
        if number in known or slot is None:
            return known.get(number) or self.names.find(number)
        return slot.version

    def _status(self, version: Version) -> VersionStatus:
        return self.memory.status(
            version,
            is_served=self.names.has(version.number),
            kept=self.names.kept,
        )

    def _open_slot(self, number: str) -> Slot | None:
        """With `all`, a place for a version that is asked for the first time."""
        if not self.names.all:
            return None
        if not self.is_ready:
            raise NotReady("the versions to serve are being loaded; try again soon")
        version = self.names.find(number)
        self.memory.check(version)
        return self.memory.open(version, if_=self.names.has)

    def _load_on_demand(self, slot: Slot, deadline: float) -> Predictor | None:
        """None where it was taken away meanwhile; NotReady."""
        if self.names.all and self.is_ready:
            return self.memory.load_on_demand(slot, deadline=deadline)
        number = slot.version.number
        if self.memory.slots.get(number) is not slot:
            return None
        if slot.error is not None:
            raise cannot_load(number, slot.error)
        raise NotReady(f"version {number} is being loaded; try again soon")

    def _fall_back(self, default: Slot) -> bool:
        """With `all`, the newest version that loads becomes the default; False where
        none of FALLBACKS does."""
        if not self.names.all:
            return False
        assert default.error is not None
        self.memory.fail(default, default.error)
        wanted = default.version.number
        for version in self.names.newest(FALLBACKS, but=wanted):
            try:
                self.memory.load(version)
            except NotReady:
                continue  # logged with its reason
            self.names.move(DEFAULT, version.number)
            self.memory.drop(default)
            logger.error(
                "default fell back wanted=%s version=%s", wanted, version.number
            )
            return True
        return False

    def _move(self, name: str, version: Version) -> None:
        """Load, check, warm, switch, drain the old one; or leave all as it is."""
        try:
            slot = self.memory.prepare(version)
            with self._changing:
                self._switch(name, slot)
        except NotReady as error:
            logger.error("kept name=%s reason=%s", name or "default", error)
        self._observe_default(self.names.is_default_kept)

    def _switch(self, name: str, slot: Slot) -> None:
        """Not where the name has moved on meanwhile, or was taken away: then it is
        looked at again after the next reading."""
        version = slot.version
        wanted = {name: target.number for name, target in self.names.moved()}
        if wanted.get(name) != version.number or not self.memory.show(slot):
            self.memory.give_up(slot)
            return
        self._apply_and_unload(lambda: self.names.move(name, version.number))
        logger.info("moved name=%s to version=%s", name or "default", version.number)

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

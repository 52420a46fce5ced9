"""The version that --shadow names: loaded, followed, and the reasons why not."""

import time
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

from classifier.bundle.files import BrokenBundle
from classifier.bundle.labels import Labels
from classifier.console.exits import WrongUsage
from classifier.store.location import StoreUnavailable
from classifier.store.versions import UnknownVersion, Version, find_among, typed_name
from serving.inference.predictor import Predictor
from serving.versions.loaded import TRY_AGAIN_SECONDS
from serving.versions.pool import PredictorPool
from serving.versions.registry_watch import RegistryWatch
from serving.versions.slot import Slot, State, is_final


class UnfitShadow(WrongUsage, ValueError):
    """The shadow version has other classes than the default version."""


class ShadowVersion:
    """A version beside those of a pool, which no request can name."""

    def __init__(self, pool: PredictorPool, name: str, watch: RegistryWatch) -> None:
        """`name` has its model, which is one of `watch`. Raises UnknownVersion."""
        self._pool = pool
        self._name = name
        self._watch = watch
        self._slot = self._tried = Slot(self._target(), pool.open_predictor)
        self._tried_at: float | None = None

    @property
    def name(self) -> str:
        """Name of the version in use, or being loaded."""
        return self._slot.version.name

    @property
    def state(self) -> State:
        return self._slot.state

    @property
    def predictor(self) -> Predictor | None:
        return self._slot.predictor

    def fits(self, default: Predictor) -> bool:
        """Whether it can be asked what `default` answers, and is another version."""
        if self.predictor is None or default.version.name == self.name:
            return False
        return not misfit(self.predictor.bundle.labels, default.bundle.labels)

    def unload(self) -> None:
        self._slot.unload()

    def check_classes(self) -> None:
        """Raises UnfitShadow; nothing if files cannot be read now, as loading says."""
        default = self._pool.served_status(None).version
        with suppress(BrokenBundle, StoreUnavailable, OSError):
            own, theirs = (
                self._pool.watch.bundle(version).labels
                for version in (self._slot.version, default)
            )
            if why := misfit(own, theirs):
                raise UnfitShadow(
                    f"--shadow {self._name}: {why}; name a version that has the same "
                    f"classes"
                )

    def reason(self, default: str) -> str | None:
        """Why nothing is asked, or another version than the name means."""
        slot, tried = self._slot, self._tried
        if tried.failure is not None:
            still = f"; {self._name} is still {typed_name(slot.version.name)}"
            return f"{tried.failure}{still if tried is not slot else ''}"
        if slot.version.name == default:
            return f"{typed_name(default)} is the default version itself"
        answering = self._pool.memory.slots.get(default)
        if slot.predictor is None or answering is None or answering.predictor is None:
            return None
        labels = slot.predictor.bundle.labels
        return misfit(labels, answering.predictor.bundle.labels) or None

    def _target(self) -> Version:
        watch = self._watch
        found = find_among(watch.versions, self._name, models=watch.models)
        # A version 1 of another model is not the pool's version 1.
        return found if watch is self._pool.watch else replace(found, is_qualified=True)

    def follow(self) -> None:
        """Loads the version that the name means now, then lets it replace the old one.

        After a failure the old one stays, and the new one is tried again.
        """
        with suppress(UnknownVersion):  # the alias is gone
            self._load(self._target())

    def _load(self, version: Version) -> None:
        if self._slot.predictor is not None and _is_same(self._slot.version, version):
            self._tried = self._slot
            return
        error, now = self._tried.error, time.monotonic()
        if self._tried_at is not None and _is_same(self._tried.version, version):
            is_too_early = now - self._tried_at < TRY_AGAIN_SECONDS
            if is_too_early or (error is not None and is_final(error)):
                return
        self._tried, self._tried_at = Slot(version, self._pool.open_predictor), now
        if self._slot.predictor is None:
            self._slot = self._tried
        if self._tried.load() is not None and self._tried is not self._slot:
            old, self._slot = self._slot, self._tried
            old.unload()


@lru_cache(maxsize=8)
def misfit(shadow: Labels, default: Labels) -> str:
    """How the classes differ; empty if the ids are the same, in any order."""
    lacking, other = (
        set(default.ids) - set(shadow.ids),
        set(shadow.ids) - set(default.ids),
    )
    if not (lacking or other):
        return ""
    found = "knows" if other else "lacks"
    examples = ", ".join(map(repr, sorted(other or lacking)[:3]))
    return (
        f"its classes are not those of the default version ({len(shadow)} and "
        f"{len(default)}): it {found} {examples}"
    )


def _is_same(one: Version, other: Version) -> bool:
    # An int8 form that was made again has another logged model.
    return (one.name, one.model_id) == (other.name, other.model_id)

"""What is told of a version: its state, why, and whether it is served."""

from dataclasses import dataclass

from classifier.versions import Version
from serving.loaded_versions import LoadedVersions
from serving.predictor import Predictor
from serving.slot import State


@dataclass(frozen=True)
class VersionStatus:
    """A version as `GET /versions` shows it."""

    version: Version
    state: State
    reason: str | None
    predictor: Predictor | None
    is_served: bool
    """Also of one that is loaded when it is first asked for."""


@dataclass(frozen=True)
class Removed:
    """A version that is served no more, and the names that stood for it."""

    status: VersionStatus
    names: list[str]


def status_of(
    version: Version, loaded: LoadedVersions, *, is_served: bool
) -> VersionStatus:
    slot = loaded.get(version.number)
    if slot is not None:
        return VersionStatus(
            version, slot.state, slot.failure, slot.predictor, is_served
        )
    reason = loaded.failure(version.number)
    state: State = "available" if reason is None else "failed"
    return VersionStatus(version, state, reason, None, is_served)

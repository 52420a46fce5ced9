"""Status of one version: state, reason of a failure, and whether it is served."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import starmap

from classifier.store.versions import Version
from serving.inference.predictor import Predictor
from serving.versions.loaded import LoadedVersions
from serving.versions.slot import State, is_final


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


def status_of(
    version: Version,
    loaded: LoadedVersions,
    *,
    is_served: bool,
    kept: Callable[[str], Mapping[str, str]],
) -> VersionStatus:
    """`kept` gives names that would mean a version, and the numbers that they mean."""
    slot, failure = loaded.get(version.number), loaded.failure(version.number)
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


def _kept(name: str, number: str) -> str:
    if name:
        return f"{name} is still v{number}"
    return f"v{number} answers where no version is named"

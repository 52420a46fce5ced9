"""Comparisons that `python -m compare` logged: the latest runs, and their files.

Imports MLflow only to read them, as the names are also of use without.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from classifier.store.versions import Version

if TYPE_CHECKING:
    from mlflow.entities import Run

    from classifier.store.registry import Registry

EXPERIMENT = "compare"

REPORT, PICTURES, MATRIX = "report.html", "differing.json", "matrix.html"
"""Files of a run that the page of the service shows."""

PICTURES_TAG = "pictures"
"""Tag of a run: how many pictures its file PICTURES has."""

MOST = 50

VERSUS = "compare.vs_"
"""Beginning of a candidate's tags about its comparison with a baseline, such as
`compare.vs_8.verdict`."""

NUMBERS = {
    "images": "images",
    "disagreement_rate": "disagreement_rate",
    "broken": "top1.broken",
    "fixed": "top1.fixed",
    "delta": "top1.delta",
    "delta_low": "top1.delta.low",
    "delta_high": "top1.delta.high",
}
"""Names of numbers here, and the metrics of a run that have them."""


@dataclass(frozen=True, kw_only=True)
class ComparedVersion:
    model: str | None
    """Of a file its name, as `version`."""

    version: str
    run_id: str | None


@dataclass(frozen=True, kw_only=True)
class LoggedComparison:
    """Two versions that were compared; or a matrix, of which only name and date."""

    run_id: str
    name: str
    date: str
    """When it began, as ISO 8601 in UTC."""

    model: str | None
    """None if versions of several models were compared."""

    a: ComparedVersion | None
    b: ComparedVersion | None
    dataset: str | None
    verdict: str | None
    numbers: Mapping[str, float | None]
    pictures: int
    """Number of pictures on which the versions differ, with their answers."""

    def is_of(self, models: tuple[str, ...]) -> bool:
        """Whether a version of `models` was compared."""
        sides = [side.model for side in (self.a, self.b) if side is not None]
        of_matrix = [self.model or models[0]]
        return any(model in models for model in sides or of_matrix)


def read_comparisons(registry: "Registry") -> list[LoggedComparison]:
    """The latest finished comparisons and matrices, the newest first.

    Raises StoreUnavailable.
    """
    return [_comparison(run) for run in _finished_runs(registry)]


def comparisons_of(registry: "Registry", version: Version) -> list[LoggedComparison]:
    """The latest finished comparisons of a version, as baseline or candidate.

    Raises StoreUnavailable.
    """
    key = (version.model, version.number)
    found = {
        str(run.info.run_id): _comparison(run)
        for side in ("a", "b")
        for run in _finished_runs(registry, f"tags.`{side}.version` = '{key[1]}'")
    }
    of_it = [
        each
        for each in found.values()
        if key in {(side.model, side.version) for side in (each.a, each.b) if side}
    ]
    return sorted(of_it, key=lambda each: each.date, reverse=True)


def _finished_runs(registry: "Registry", *filters: str) -> "list[Run]":
    from classifier.store.calls import store_call

    with store_call("list the comparisons"):
        experiment = registry.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        return list(
            registry.client.search_runs(
                [experiment.experiment_id],
                filter_string=" AND ".join(
                    ("attributes.status = 'FINISHED'", *filters)
                ),
                order_by=["attributes.start_time DESC"],
                max_results=MOST,
            )
        )


def compared_with(tags: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What a candidate's tags say of its comparisons, by the baseline's name.

    Such as {"8": {"verdict": "pass", "negative_flip_rate": "0.05", …}}.
    """
    found: dict[str, dict[str, str]] = {}
    for tag, value in tags.items():
        baseline, _, name = tag.removeprefix(VERSUS).rpartition(".")
        if tag.startswith(VERSUS) and baseline:
            found.setdefault(baseline, {})[name] = value
    return found


def _comparison(run: "Run") -> LoggedComparison:
    tags: Mapping[str, str] = run.data.tags
    metrics: Mapping[str, float] = run.data.metrics
    numbers = {name: metrics.get(metric) for name, metric in NUMBERS.items()}
    pictures = tags.get(PICTURES_TAG, "0")
    return LoggedComparison(
        run_id=str(run.info.run_id),
        name=str(run.info.run_name),
        date=iso_date(run.info.start_time),
        model=tags.get("model"),
        a=_version(tags, "a"),
        b=_version(tags, "b"),
        dataset=tags.get("dataset.name"),
        verdict=tags.get("verdict"),
        numbers={
            name: value if value is not None and math.isfinite(value) else None
            for name, value in numbers.items()
        },
        pictures=int(pictures) if pictures.isdecimal() else 0,
    )


def _version(tags: Mapping[str, str], side: str) -> ComparedVersion | None:
    version = tags.get(f"{side}.version")
    if version is None:
        return None
    return ComparedVersion(
        model=tags.get(f"{side}.model") or tags.get("model"),
        version=version,
        run_id=tags.get(f"{side}.run_id"),
    )


def iso_date(milliseconds: Any) -> str:
    """A time of MLflow, such as `2026-11-30T08:15:00Z`."""
    moment = datetime.fromtimestamp(int(milliseconds or 0) / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

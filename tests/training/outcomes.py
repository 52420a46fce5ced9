"""All that a finished run leaves, in a form in which two runs can be compared."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.bundle.files import Bundle, read_bundle
from classifier.store.cache.entries import MANIFEST
from classifier.store.location import sqlite_file, store_folder
from classifier.store.registry import Registry
from classifier.store.versions import Version

OF_THE_CLOCK = ("images_per_second",)
"""Metrics whose values are no two runs' the same."""


@dataclass(frozen=True)
class Outcome:
    """Equal for two runs that differ in nothing but their ids and the clock."""

    files: list[Mapping[str, bytes]]
    """Of each version, but for MLmodel, which names the run."""

    tags: list[Mapping[str, str]]
    aliases: list[tuple[str, ...]]
    metrics: Mapping[str, list[tuple[int, float]]]
    """Step and value of all points."""

    params: Mapping[str, str]
    outputs: list[int]
    """The epoch of each."""


def outcome_of(uri: str, model: str) -> Outcome:
    """Of the store's only run with versions; refuses what no run should leave."""
    registry = Registry(uri)
    versions = registry.versions(model)
    (run_id,) = {str(version.run_id) for version in versions}
    run = registry.client.get_run(run_id)
    _refuse_stuck_runs(registry, run)
    _refuse_leftovers(registry, run, versions)
    return Outcome(
        files=[_files(read_bundle(registry.fetch(version))) for version in versions],
        tags=[_without(version.tags, "run_id") for version in versions],
        aliases=[version.aliases for version in versions],
        metrics={key: _points(registry, run_id, key) for key in run.data.metrics},
        params=run.data.params,
        outputs=sorted(output.step for output in run.outputs.model_outputs),
    )


def _files(bundle: Bundle) -> Mapping[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(bundle.folder.iterdir())
        if path.name not in {"MLmodel", MANIFEST}
    }


def _points(registry: Registry, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted(
        (point.step, 0.0 if key in OF_THE_CLOCK else point.value)
        for point in registry.client.get_metric_history(run_id, key)
    )


def _without(tags: Mapping[str, str], name: str) -> Mapping[str, str]:
    return {key: value for key, value in tags.items() if key != name}


def _refuse_stuck_runs(registry: Registry, run: Any) -> None:
    assert run.info.status == "FINISHED"
    runs = registry.client.search_runs([run.info.experiment_id])
    others = {r.info.status for r in runs if r.info.run_id != run.info.run_id}
    assert others <= {"KILLED"}


def _refuse_leftovers(registry: Registry, run: Any, versions: list[Version]) -> None:
    """No logged model, folder, measurement or state that belongs to no version."""
    models = [version.model_id for version in versions]
    listed = registry.client.search_logged_models([run.info.experiment_id])
    assert sorted(model.model_id for model in listed) == sorted(map(str, models))
    assert {str(model.status) for model in listed} == {"READY"}
    outputs = sorted(run.outputs.model_outputs, key=lambda output: output.step)
    assert [output.model_id for output in outputs] == models
    folder = store_folder(registry.uri) / "mlruns"
    state = folder / "training-state" / run.info.run_id
    kept = ["lock", f"state-{len(versions):04}.safetensors", "state.json"]
    assert sorted(path.name for path in state.iterdir()) == kept
    file = sqlite_file(registry.uri)
    if file is None:
        return
    stored = [path.name for path in folder.glob("*/models/*")]
    assert sorted(stored) == sorted(map(str, models))
    assert not _doubled_metrics(file)


def _doubled_metrics(database: Path) -> list[Any]:
    """Those with two points of one step, of a run or of a logged model."""
    with closing(sqlite3.connect(database)) as connection:
        return [
            row
            for query in (
                "select run_uuid, key, step from metrics",
                "select model_id, metric_name, metric_step from logged_model_metrics",
            )
            for row in connection.execute(
                f"select *, count(*) n from ({query}) group by 1, 2, 3 having n > 1"
            )
        ]

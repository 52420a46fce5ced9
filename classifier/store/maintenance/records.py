"""Runs and logged models as plain values: read from a store, and written to another."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlparse

import mlflow.entities as entities
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from classifier.hardware import PROCESS_TAG, this_process
from classifier.store.calls import sent_once, store_call
from classifier.store.location import store_folder
from classifier.store.logged_models import open_experiment
from classifier.store.registry import Registry

T = TypeVar("T")

IMPORTED_RUN = "imported_run_id"
"""Tag of an imported run: its id in the store where it was made."""

IMPORTED_WHOLE = "imported_whole"
"""Tag of an imported run that has everything."""

_MOST_METRICS, _MOST_OTHERS = 1000, 100
"""Most metrics, and parameters, in one log_batch (mlflow/utils/validation.py)."""

_OWN_TAGS = (PROCESS_TAG, IMPORTED_RUN, IMPORTED_WHOLE, "mlflow.runName")


@dataclass(frozen=True, kw_only=True)
class MetricPoint:
    key: str
    value: float | None
    """None for NaN, which JSON does not have."""

    time_ms: int
    step: int
    model_id: str | None = None
    """The logged model that it was measured of, if that is exported."""


@dataclass(frozen=True, kw_only=True)
class RunDataset:
    name: str
    digest: str
    source_type: str
    source: str
    profile: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run of MLflow, without its files."""

    run_id: str
    """Where it was made first, which it keeps from store to store."""

    experiment: str
    name: str
    status: str
    started_ms: int
    ended_ms: int | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[MetricPoint]
    datasets: list[RunDataset]
    inputs: list[str]
    """Logged models that a comparison was about."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """A logged model, without its files."""

    model_id: str
    run_id: str
    """The run's id as RunRecord has it."""

    name: str
    step: int
    """Its step among the outputs of the run."""

    tags: dict[str, str]


def made_as(run: entities.Run) -> str:
    """The id of a run where it was made first."""
    return str(run.data.tags.get(IMPORTED_RUN, run.info.run_id))


@store_call("read a run")
def read_run(registry: Registry, run_id: str, models: Mapping[str, str]) -> RunRecord:
    """`models`: the ids of exported logged models, and their names in the export."""
    client = registry.client
    run = client.get_run(run_id)
    info = run.info
    datasets = run.inputs.dataset_inputs if run.inputs is not None else []
    inputs = run.inputs.model_inputs if run.inputs is not None else []
    return RunRecord(
        run_id=made_as(run),
        experiment=str(client.get_experiment(info.experiment_id).name),
        name=str(info.run_name),
        status=str(info.status),
        started_ms=int(info.start_time),
        ended_ms=info.end_time,
        params=dict(run.data.params),
        tags={k: v for k, v in run.data.tags.items() if k not in _OWN_TAGS},
        metrics=_metrics(client, run, models),
        datasets=[_dataset(each) for each in datasets],
        inputs=[models[i.model_id] for i in inputs or [] if i.model_id in models],
    )


def _metrics(
    client: MlflowClient, run: entities.Run, models: Mapping[str, str]
) -> list[MetricPoint]:
    """All points of a run; of the same point for several models one for each."""
    of_models: dict[tuple[str, int, int], list[str]] = {}
    listed = run.outputs.model_outputs if run.outputs is not None else []
    for model_id in [each.model_id for each in listed if each.model_id in models]:
        for metric in client.get_logged_model(model_id).metrics or []:
            if metric.run_id in (None, run.info.run_id):
                place = (metric.key, metric.timestamp, metric.step)
                of_models.setdefault(place, []).append(models[model_id])
    points = []
    for key in sorted(run.data.metrics):
        for metric in client.get_metric_history(run.info.run_id, key):
            place = (key, metric.timestamp, metric.step)
            for model_id in of_models.get(place, [None]):
                value = None if math.isnan(metric.value) else float(metric.value)
                points.append(
                    MetricPoint(
                        key=key,
                        value=value,
                        time_ms=metric.timestamp,
                        step=metric.step,
                        model_id=model_id,
                    )
                )
    return points


def _dataset(given: Any) -> RunDataset:
    dataset = given.dataset
    return RunDataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        profile=dataset.profile,
        tags={tag.key: tag.value for tag in given.tags},
    )


@store_call("read a logged model")
def read_model(
    registry: Registry, model_id: str, *, made_id: str, run_id: str
) -> ModelRecord:
    """`made_id` and `run_id`: the ids where both were made first."""
    model = registry.client.get_logged_model(model_id)
    outputs = registry.client.get_run(model.source_run_id).outputs
    listed = outputs.model_outputs if outputs is not None else []
    steps = {each.model_id: each.step for each in listed}
    return ModelRecord(
        model_id=made_id,
        run_id=run_id,
        name=str(model.name),
        step=int(steps.get(model_id, 0)),
        tags=dict(model.tags),
    )


@store_call("read the files of a run")
def files_of_run(registry: Registry, run_id: str, *, into: Path) -> Path | None:
    """The folder with a run's files, downloaded if remote; None if it has none."""
    location = str(registry.client.get_run(run_id).info.artifact_uri)
    url = urlparse(location)
    if url.scheme not in ("", "file"):
        if not registry.client.list_artifacts(run_id):
            return None
        into.mkdir(parents=True, exist_ok=True)
        return Path(registry.client.download_artifacts(run_id, "", str(into)))
    moved = (store_folder(registry.uri) / "mlruns").glob(f"*/{run_id}/artifacts")
    folders = (Path(unquote(url.path)), *moved)
    return next((folder for folder in folders if folder.is_dir()), None)


class RunWriter:
    """A run of a record in a store; what is there already is not written again."""

    def __init__(self, registry: Registry, record: RunRecord) -> None:
        self.registry = registry
        self.record = record
        self._client = registry.client
        run = self._found() or self._create()
        self.run_id = str(run.info.run_id)
        self.experiment_id = str(run.info.experiment_id)
        tags = run.data.tags
        self.is_native = IMPORTED_RUN not in tags
        """It was made in this store, and is left as it is."""

        self.is_whole = self.is_native or IMPORTED_WHOLE in tags

    @store_call("look for a run")
    def _found(self) -> entities.Run | None:
        """The run itself, if it was made here, or as it was imported before."""
        try:
            native = self._client.get_run(self.record.run_id)
            if native.info.lifecycle_stage == "active":
                return native
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        experiment = self._client.get_experiment_by_name(self.record.experiment)
        if experiment is None:
            return None
        found = self._client.search_runs(
            [experiment.experiment_id],
            filter_string=f"tags.{IMPORTED_RUN} = '{self.record.run_id}'",
            max_results=1,
        )
        return found[0] if found else None

    def _create(self) -> entities.Run:
        record = self.record
        advice = "import into another store with MLFLOW_TRACKING_URI"
        experiment = open_experiment(self.registry, record.experiment, advice=advice)
        with store_call("import a run"), sent_once():
            return self._client.create_run(
                experiment,
                start_time=record.started_ms,
                tags={IMPORTED_RUN: record.run_id, PROCESS_TAG: this_process()},
                run_name=record.name,
            )

    @store_call("import a run")
    def write(
        self,
        folder: Path | None,
        *,
        tags: Mapping[str, str],
        inputs: Sequence[str] = (),
        exported: Collection[str] = (),
    ) -> None:
        """Write everything but the points of `exported` models; idempotent.

        `folder` has the run's files. `tags` stand for those of the record, `inputs`
        for its logged models.
        """
        if self.is_whole:
            return
        client, run_id = self._client, self.run_id
        client.update_run(run_id, "RUNNING")
        client.set_tag(run_id, PROCESS_TAG, this_process())
        for some in _some(self.record.params.items(), _MOST_OTHERS):
            client.log_batch(run_id, params=[entities.Param(k, v) for k, v in some])
        for some_tags in _some(tags.items(), _MOST_OTHERS):
            client.log_batch(run_id, tags=[entities.RunTag(k, v) for k, v in some_tags])
        self._write(
            [(p, None) for p in self.record.metrics if p.model_id not in exported]
        )
        datasets = [_dataset_input(each) for each in self.record.datasets]
        given = [entities.LoggedModelInput(model_id) for model_id in inputs]
        client.log_inputs(run_id, datasets, given)
        if folder is not None:
            client.log_artifacts(run_id, str(folder))

    @store_call("import a version's metrics")
    def write_points(self, made_id: str, model_id: str) -> None:
        """Write the points of a logged model of the record, as those of `model_id`.

        Idempotent.
        """
        points = self.record.metrics
        self._write([(p, model_id) for p in points if p.model_id == made_id])

    def _write(self, points: Iterable[tuple[MetricPoint, str | None]]) -> None:
        metrics = (
            entities.Metric(
                point.key,
                math.nan if point.value is None else point.value,
                point.time_ms,
                point.step,
                model_id=model_id,
            )
            for point, model_id in points
        )
        for some in _some(metrics, _MOST_METRICS):
            self._client.log_batch(self.run_id, some)

    @store_call("list a version among the run's outputs")
    def add_output(self, model_id: str, *, step: int) -> None:
        """Idempotent."""
        outputs = self._client.get_run(self.run_id).outputs
        listed = outputs.model_outputs if outputs is not None else []
        if model_id not in {output.model_id for output in listed}:
            output = entities.LoggedModelOutput(model_id, step=step)
            self._client.log_outputs(self.run_id, [output])

    @store_call("end an imported run")
    def finish(self) -> None:
        """End the run as it ended where it was made; later imports leave it."""
        if self.is_whole:
            return
        record = self.record
        status = "KILLED" if record.status == "RUNNING" else record.status
        self._client.set_terminated(self.run_id, status, record.ended_ms)
        self._client.set_tag(self.run_id, IMPORTED_WHOLE, "true")


def _dataset_input(record: RunDataset) -> entities.DatasetInput:
    dataset = entities.Dataset(
        name=record.name,
        digest=record.digest,
        source_type=record.source_type,
        source=record.source,
        profile=record.profile,
    )
    tags = [entities.InputTag(key, value) for key, value in record.tags.items()]
    return entities.DatasetInput(dataset, tags)


def _some(values: Iterable[T], most: int) -> Iterable[list[T]]:
    left = iter(values)
    while some := list(islice(left, most)):
        yield some

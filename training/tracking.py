"""A run in MLflow: what it was asked, what it measured, and its pictures."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import mlflow.entities as entities

from classifier.bundle import Bundle
from classifier.mlmodel import write_mlmodel
from classifier.registry import (
    Registry,
    StoreUnavailable,
    store_call,
    store_folder,
)
from training.evaluate import Metrics
from training.history import EpochRecord, RunningPoint

BATCH_LIMIT = 1000
"""Metrics in one log_batch (mlflow/utils/validation.py)."""


class RunTracker:
    """One MLflow run, from its start to its end; a context manager.

    Only the client API is used: the fluent one links a metric to every model of an
    equal step number, and steps of epochs and of batches overlap.
    """

    def __init__(
        self, registry: Registry, *, experiment: str, tags: Mapping[str, str]
    ) -> None:
        self._client = registry.client
        self._experiment_id = _experiment(registry, experiment)
        with store_call("start a run"):
            run = self._client.create_run(self._experiment_id, tags=dict(tags))
        self.run_id: str = run.info.run_id
        self.run_name: str = run.info.run_name

    def __enter__(self) -> "RunTracker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        status = "FINISHED"
        if kind is not None:
            status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        with store_call("end the run"):
            self._client.set_terminated(self.run_id, status)

    @store_call("log parameters")
    def log_params(self, params: Mapping[str, object]) -> None:
        entries = [entities.Param(key, str(value)) for key, value in params.items()]
        self._client.log_batch(self.run_id, params=entries)

    @store_call("log the data set")
    def log_dataset(self, *, name: str, digest: str, source: str, size: str) -> None:
        # MLflow's field holds 36 characters; the whole digest is a tag and a param.
        dataset = entities.Dataset(
            name=name,
            digest=digest[:36],
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps({"size": size}),
        )
        context = entities.InputTag("mlflow.data.context", "training, validation")
        self._client.log_inputs(
            self.run_id, [entities.DatasetInput(dataset, [context])]
        )

    @store_call("log running metrics")
    def log_running(self, points: Sequence[RunningPoint]) -> None:
        """`running/*`; the step is the optimiser's."""
        self._log(
            [
                self._metric(f"running/{name}", value, point.step)
                for point in points
                for name, value in _named(point.metrics).items()
            ]
        )

    @store_call("log an epoch's metrics")
    def log_epoch(self, record: EpochRecord, *, model_id: str) -> None:
        """`train/*`, `val/*` and the rest; the step is the epoch, the model is its."""
        training = record.training
        values = {
            **{f"train/{k}": v for k, v in _named(training.metrics).items()},
            **{f"val/{k}": v for k, v in _named(record.val).items()},
            "lr": training.lr,
            "images_per_second": training.images_per_second,
        }
        self._log(
            [
                self._metric(key, value, record.epoch, model_id)
                for key, value in values.items()
            ]
        )

    @store_call("store a version's files")
    def add_files(self, bundle: Bundle, *, epoch: int) -> str:
        """Stores a version's files as a logged model of this run; its id.

        Nothing refers to it until it is registered: whatever dies before leaves
        nothing that anyone would load.
        """
        model = self._client.create_logged_model(
            self._experiment_id,
            name=f"epoch-{epoch:02}",
            source_run_id=self.run_id,
            tags={"epoch": str(epoch)},
        )
        try:
            write_mlmodel(bundle, run_id=self.run_id, model_id=model.model_id)
            self._client.log_model_artifacts(model.model_id, str(bundle.folder))
        except BaseException:
            self._client.finalize_logged_model(model.model_id, "FAILED")
            raise
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(
            self.run_id, [entities.LoggedModelOutput(model.model_id, step=epoch)]
        )
        return str(model.model_id)

    @store_call("log a text")
    def log_text(self, text: str, name: str) -> None:
        self._client.log_text(self.run_id, text, name)

    @store_call("log pictures")
    def log_folder(self, folder: Path, name: str) -> None:
        self._client.log_artifacts(self.run_id, str(folder), name)

    def _metric(
        self, key: str, value: float, step: int, model_id: str | None = None
    ) -> entities.Metric:
        now_ms = int(time.time() * 1000)
        return entities.Metric(key, value, now_ms, step, model_id=model_id)

    def _log(self, metrics: Sequence[entities.Metric]) -> None:
        for start in range(0, len(metrics), BATCH_LIMIT):
            self._client.log_batch(self.run_id, metrics[start : start + BATCH_LIMIT])


def _named(metrics: Metrics) -> dict[str, float]:
    return {
        "loss": metrics.loss,
        "top1_accuracy": metrics.top1_accuracy,
        "top5_accuracy": metrics.top5_accuracy,
    }


def _experiment(registry: Registry, name: str) -> str:
    """Its id; made where it is new, with artifacts where plain `mlflow ui` finds them.

    MLflow's default would depend on who comes first: an experiment made in its UI gets
    `mlflow-artifacts:`, which only a client of the server can write to.
    """
    is_remote = registry.uri.startswith(("http://", "https://"))
    with store_call(f"open experiment {name!r}"):
        found = registry.client.get_experiment_by_name(name)
        if found is None:
            folder = store_folder(registry.uri) / "mlruns" / name
            location = None if is_remote else str(folder)
            return str(registry.client.create_experiment(name, location))
    if found.lifecycle_stage != "active":
        raise StoreUnavailable(
            f"experiment {name!r} was deleted in MLflow; restore it with `mlflow "
            f"experiments restore --experiment-id {found.experiment_id}`, or name "
            f"another with --experiment"
        )
    if str(found.artifact_location).startswith("mlflow-artifacts:") and not is_remote:
        raise StoreUnavailable(
            f"experiment {name!r} keeps its artifacts on a server "
            f"({found.artifact_location}), and {registry.uri} is not one; name another "
            "with --experiment, or set MLFLOW_TRACKING_URI to the server's address"
        )
    return str(found.experiment_id)

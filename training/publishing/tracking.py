"""A run in MLflow: its parameters, tags, metrics, files and process."""

import contextlib
import getpass
import json
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow.entities as entities

from classifier.hardware import PROCESS_TAG, is_dead, this_process
from classifier.store.calls import store_call
from classifier.store.location import StoreUnavailable
from classifier.store.logged_models import LoggedModels, open_experiment
from classifier.store.registry import Registry
from training.config.launch import program

if TYPE_CHECKING:  # they bring torch, which an import of a graph does without
    from training.evaluation.epoch import EpochRecord, RunningPoint

BATCH_LIMIT = 1000
"""Most metrics in one log_batch (mlflow/utils/validation.py)."""

LIBRARIES = (
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "mlflow",
    "numpy",
    "pillow",
    "simplejpeg",
)


class RunTracker:
    """One MLflow run, from its start to `finish()`.

    As a context manager it ends the run as FAILED or KILLED on an error. It uses the
    client API only: the fluent API links a metric to every model with the same step,
    and the steps of epochs and of the optimiser overlap.
    """

    def __init__(self, registry: Registry, run: entities.Run) -> None:
        self._client = registry.client
        self.run_id: str = run.info.run_id
        self.run_name: str = run.info.run_name
        self.models = LoggedModels(
            registry, experiment_id=run.info.experiment_id, run_id=self.run_id
        )

    @classmethod
    def start(
        cls, registry: Registry, *, experiment: str, tags: Mapping[str, str]
    ) -> "RunTracker":
        experiment_id = open_experiment(
            registry, experiment, advice="name another with --experiment"
        )
        _end_dead_runs(registry, experiment_id)
        with store_call("start a run"):
            run = registry.client.create_run(
                experiment_id, tags={**tags, PROCESS_TAG: this_process()}
            )
        return cls(registry, run)

    @classmethod
    def reopen(cls, registry: Registry, run_id: str) -> "RunTracker":
        """Continues a run of any status."""
        with store_call(f"open run {run_id}"):
            run = registry.client.get_run(run_id)
            _end_dead_runs(registry, run.info.experiment_id, besides=run_id)
            registry.client.set_tag(run_id, PROCESS_TAG, this_process())
            registry.client.update_run(run_id, "RUNNING")
        return cls(registry, run)

    def __enter__(self) -> "RunTracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            return
        # The error that ended the run matters more than an unreachable store.
        with contextlib.suppress(StoreUnavailable):
            self._end("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")

    def finish(self) -> None:
        self._end("FINISHED")

    @store_call("end the run")
    def _end(self, status: str) -> None:
        self._client.set_terminated(self.run_id, status)

    @store_call("log parameters")
    def log_params(self, params: Mapping[str, object]) -> None:
        entries = [entities.Param(key, str(value)) for key, value in params.items()]
        self._client.log_batch(self.run_id, params=entries)

    @store_call("log the data set")
    def log_dataset(self, *, name: str, digest: str, source: str, size: str) -> None:
        # MLflow's field holds 36 characters; a tag and a parameter hold the digest.
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

    @store_call("log tags")
    def log_tags(self, tags: Mapping[str, object]) -> None:
        entries = [entities.RunTag(key, str(value)) for key, value in tags.items()]
        self._client.log_batch(self.run_id, tags=entries)

    @store_call("log running metrics")
    def log_running(self, points: "Sequence[RunningPoint]") -> None:
        """Logs `running/*`; the step is the optimiser's. Idempotent."""
        self._log(
            [
                entities.Metric(f"running/{name}", value, point.time_ms, point.step)
                for point in points
                for name, value in asdict(point.metrics).items()
            ]
        )

    def log_epoch(self, record: "EpochRecord", *, model_id: str) -> None:
        """Logs `train/*`, `val/*` and more for a model; the step is the epoch.

        Idempotent.
        """
        training = record.training
        values = {
            **{f"train/{k}": v for k, v in asdict(training.metrics).items()},
            **{f"train_sample/{k}": v for k, v in asdict(record.train_subset).items()},
            **{f"val/{k}": v for k, v in asdict(record.val).items()},
            "val/expected_calibration_error": record.calibration.error,
            **_class_means(record),
            "lr": training.lr,
            "images_per_second": training.images_per_second,
        }
        self.log_measures(
            values, model_id=model_id, epoch=record.epoch, time_ms=record.time_ms
        )

    @store_call("list a version among the run's outputs")
    def add_output(self, model_id: str, *, epoch: int) -> None:
        """Idempotent."""
        outputs = self._client.get_run(self.run_id).outputs
        listed = outputs.model_outputs if outputs is not None else []
        if model_id not in {output.model_id for output in listed}:
            output = entities.LoggedModelOutput(model_id, step=epoch)
            self._client.log_outputs(self.run_id, [output])

    @store_call("log a model's metrics")
    def log_measures(
        self, values: Mapping[str, float], *, model_id: str, epoch: int, time_ms: int
    ) -> None:
        """Logs metrics of a model. Idempotent for equal values and times."""
        self._log(
            [
                entities.Metric(key, value, time_ms, epoch, model_id=model_id)
                for key, value in values.items()
            ]
        )

    @store_call("log a text")
    def log_text(self, text: str, name: str) -> None:
        self._client.log_text(self.run_id, text, name)

    @store_call("log pictures")
    def log_folder(self, folder: Path, name: str) -> None:
        self._client.log_artifacts(self.run_id, str(folder), name)

    def _log(self, metrics: Sequence[entities.Metric]) -> None:
        for start in range(0, len(metrics), BATCH_LIMIT):
            self._client.log_batch(self.run_id, metrics[start : start + BATCH_LIMIT])


def _class_means(record: "EpochRecord") -> dict[str, float]:
    """Empty for an epoch of before, which lacks them."""
    means = {
        "val/macro_f1": record.macro_f1,
        "val/balanced_accuracy": record.balanced_accuracy,
    }
    return {name: value for name, value in means.items() if value is not None}


def _end_dead_runs(
    registry: Registry, experiment_id: str, *, besides: str = ""
) -> None:
    """Ends the runs whose process was killed, as that process could not."""
    with store_call("look for runs that were killed"):
        running = registry.client.search_runs(
            [experiment_id], "attributes.status = 'RUNNING'"
        )
        for run in running:
            process = run.data.tags.get(PROCESS_TAG)
            if process and run.info.run_id != besides and is_dead(process):
                registry.client.set_terminated(run.info.run_id, "KILLED")


def run_tags(arguments: Sequence[str]) -> dict[str, str]:
    """Tags of the MLflow run. Its page shows the `mlflow.` ones at the top."""
    command = f"{program()} {shlex.join(arguments)}"
    tags = {
        "command": command,
        "mlflow.source.name": command,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    commit = _git_commit()
    if commit is not None:
        tags["mlflow.source.git.commit"] = commit
    return tags


def library_versions() -> dict[str, str]:
    versions = {name: version(name) for name in LIBRARIES}
    versions["onnxruntime"] = _onnxruntime_version()
    return {"python": platform.python_version(), **versions}


def _onnxruntime_version() -> str:
    """The package has two names: for CPUs alone and with CUDA."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    raise PackageNotFoundError("onnxruntime")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return str(os.getuid())


def _git_commit() -> str | None:
    """Commit of the working directory; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

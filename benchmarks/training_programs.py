"""Run this project's training or the conventional one, and read its cost."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.datasets.dataset import Part
from classifier.datasets.source import open_dataset
from classifier.store.registry import Registry

ROOT = Path(__file__).parent.parent
STOPPED = (130, -signal.SIGTERM)
"""Exit codes after a SIGTERM: training's own, and Python's default."""


class ProgramFailed(RuntimeError):
    """A measured program ended with an error."""


class ProgramStopped(RuntimeError):
    """A program was stopped at the end of its time; it can be resumed."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of an epoch, averaged over all but the first, which warms up."""

    images: int
    training_seconds: float
    epoch_seconds: float
    """Wall seconds of training, validation, logging and publishing, overlapped."""

    publishing_seconds: float | None
    """Seconds of logging and publishing; None if the run does not log them."""

    waiting_seconds: float | None
    """Seconds for which training waited for publishing."""

    first_step_seconds: float | None
    """Seconds from the start of the process to training, without compiling."""

    @property
    def training_rate(self) -> float:
        """Images per second of the training steps alone."""
        return self.images / self.training_seconds

    @property
    def epoch_rate(self) -> float:
        """Images per second over whole epochs."""
        return self.images / self.epoch_seconds


@dataclass(frozen=True)
class LoggedRun:
    """The only run of a store, with the versions it made."""

    registry: Registry
    run: Any
    """mlflow.entities.Run."""

    def values(self, key: str) -> list[float]:
        """Values of a metric, by rising step."""
        return [point.value for point in self.points(key)]

    def points(self, key: str) -> list[Any]:
        history = self.registry.client.get_metric_history(self.run.info.run_id, key)
        return sorted(history, key=lambda point: int(point.step))

    def tag(self, key: str) -> float | None:
        """A number among the run's tags; None if it has no such tag."""
        value = self.run.data.tags.get(key)
        return None if value is None else float(value)


def run_training(
    data: Path, *flags: str, store: Path, until: float | None = None
) -> LoggedRun:
    """Run `python -m training --data DATA FLAGS` in a new store.

    Raises ProgramStopped if it has not finished at `until`, by time.monotonic().
    """
    run_program("training", ["--data", str(data), *flags], store=store, until=until)
    return read_store(store)


def resume_training(store: Path, *, until: float | None = None) -> LoggedRun:
    """Resume the store's run; otherwise like run_training()."""
    run_program("training", ["--resume", "last"], store=store, until=until)
    return read_store(store)


def training_cost(logged: LoggedRun, *, images: int) -> Cost:
    """`images` is the number of an epoch's images; the run has two epochs or more."""
    rates = logged.values("images_per_second")
    publishing = logged.tag("seconds_publishing")
    waiting = logged.tag("seconds_waiting")
    return Cost(
        images=images,
        training_seconds=sum(images / rate for rate in rates[1:]) / (len(rates) - 1),
        epoch_seconds=_epoch_seconds(logged, epochs=len(rates)),
        publishing_seconds=None if publishing is None else publishing / len(rates),
        waiting_seconds=None if waiting is None else waiting / len(rates),
        first_step_seconds=logged.tag("seconds_to_first_step"),
    )


def _epoch_seconds(logged: LoggedRun, *, epochs: int) -> float:
    """Seconds from the first epoch's last logged point to the last registration.

    Publishing lags behind training, most of all for the first version. Counted from its
    registration, that lag would be left out; counted so, the first epoch's publishing
    is included although the epoch is not.
    """
    points = logged.points("running/loss")
    steps = points[-1].step // epochs
    first_end_ms = next(point.timestamp for point in points if point.step == steps)
    model = logged.registry.model_name(None)
    versions = logged.registry.client.search_model_versions(f"name = '{model}'")
    last_ms = max(version.creation_timestamp for version in versions)
    return float(last_ms - first_end_ms) / 1000 / (epochs - 1)


def run_conventional(data: Path, *flags: str, store: Path) -> Cost:
    """Run `python -m benchmarks.conventional` in a new store, two epochs or more."""
    started = time.time()
    command = ["--data", str(data), *flags]
    output = run_program("benchmarks.conventional", command, store=store)
    epochs = [json.loads(line) for line in output.splitlines() if line[:1] == "{"][1:]
    first_step_ms = read_store(store).points("train_loss")[0].timestamp

    def mean(key: str) -> float:
        return float(sum(epoch[key] for epoch in epochs) / len(epochs))

    training, logging = mean("seconds_training"), mean("seconds_logging")
    return Cost(
        images=round(mean("images")),
        training_seconds=training,
        epoch_seconds=training + mean("seconds_validation") + logging,
        publishing_seconds=logging,
        waiting_seconds=logging,
        first_step_seconds=first_step_ms / 1000 - started,
    )


def run_program(
    module: str, flags: Sequence[str], *, store: Path, until: float | None = None
) -> str:
    """Run a program and return its output; `store` is its working directory.

    Raises ProgramStopped after it was stopped by SIGTERM at `until`, by
    time.monotonic(), and ProgramFailed for any other exit code but 0.
    """
    store.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": store_uri(store),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", module, *flags]
    shown = f"`python -m {module} {' '.join(flags)}`"
    seconds = None if until is None else until - time.monotonic()
    if seconds is not None and seconds <= 0:
        raise ProgramStopped(f"no time is left for {shown}")
    with subprocess.Popen(
        command,
        cwd=store,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, error = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            output, error = process.communicate()
            if process.returncode in STOPPED:
                raise ProgramStopped(f"{shown} was stopped in time") from None
    if process.returncode:
        raise ProgramFailed(
            f"{shown} ended with {process.returncode} and this output:\n{error[-2000:]}"
        )
    return output


def read_store(store: Path) -> LoggedRun:
    """Raises ProgramFailed unless the store holds one run."""
    registry = Registry(store_uri(store))
    experiments = [e.experiment_id for e in registry.client.search_experiments()]
    runs = registry.client.search_runs(experiments)
    if len(runs) != 1:
        raise ProgramFailed(f"{store} holds {len(runs)} runs, and should hold one")
    return LoggedRun(registry, runs[0])


def store_uri(store: Path) -> str:
    return f"sqlite:///{store / 'mlflow.db'}"


def arrange(
    source: str,
    to: Path,
    *,
    per_class: int | None = None,
    val_per_class: int | None = None,
) -> Path:
    """Make a folder in `to` with train/<class>/* and val/<class>/*, links to `source`.

    torchvision's ImageFolder and `python -m training` both read it. It has the first
    images of each class in sorted order; None takes all. Raises BadDataset.
    """
    with tempfile.TemporaryDirectory() as cache:
        dataset = open_dataset(source, cache=Path(cache), want_train=True)
    assert dataset.train is not None
    folder = to / dataset.name
    for name, part, limit in (
        ("train", dataset.train, per_class),
        ("val", dataset.val, val_per_class),
    ):
        _link(part if limit is None else part.first_per_class(limit), folder / name)
    return folder


def _link(part: Part, folder: Path) -> None:
    for class_id in sorted(set(part.class_ids)):
        (folder / class_id).mkdir(parents=True)
    for class_id, file in zip(part.class_ids, part.files, strict=True):
        (folder / class_id / file.name).symlink_to(file)


def existing_folder(text: str) -> Path:
    """argparse's type for `--data`; an archive's links would soon be dead."""
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder; unpack it first")
    return path


def count_images(part: Path) -> int:
    """Number of images in a part."""
    return sum(1 for _ in part.glob("*/*"))

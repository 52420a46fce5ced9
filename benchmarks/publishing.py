"""Time to publish an epoch as a version, against `mlflow.pytorch.log_model`.

Both publish the same ResNet-18 with 200 classes at 64 px, in turn, each to a store of
its own. This project writes files, proves them against torch, and sets metrics, version
and aliases. `mlflow.pytorch.log_model(..., registered_model_name=...)` is called with
an input example, as in MLflow's documentation.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import torch

from benchmarks.harness import write_table
from classifier.bundle.labels import Labels
from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import build_network
from classifier.networks.image_classifier import ImageClassifier
from classifier.store.registry import Registry
from training.data.decoded_images import DecodedPart
from training.evaluation.calibration import Calibration
from training.evaluation.epoch import (
    Checkpoint,
    EpochRecord,
    RunningPoint,
    TrainingPass,
)
from training.evaluation.evaluate import evaluate
from training.publishing.export import export_parts, state_of
from training.publishing.publish import Publisher
from training.publishing.tracking import RunTracker

VERSIONS = 5
CLASSES, SIZE, IMAGES = 200, 64, 1_000


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    torch.manual_seed(0)
    network = build_network(NetworkSpec("resnet18", "imagenet", CLASSES), size=64)
    with (
        tempfile.TemporaryDirectory() as ours_folder,
        tempfile.TemporaryDirectory() as theirs,
    ):
        registry = Registry(f"sqlite:///{ours_folder}/mlflow.db", create=True)
        publish_ours = ours(registry, Path(ours_folder), network)
        publish_theirs = _theirs(Path(theirs), network)
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for epoch in range(1, VERSIONS + 1):
            for name, publish in (("ours", publish_ours), ("theirs", publish_theirs)):
                seconds[name].append(_time(publish, epoch))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    write_table(
        "Publishing one epoch as a registry version",
        ("", "seconds, median of 5", "least and most", "ratio"),
        [
            (
                label,
                f"{medians[name]:.2f}",
                f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}",
                f"{medians[name] / medians['ours']:.1f}",
            )
            for name, label in (
                ("ours", "flipside, proved against torch"),
                ("theirs", "`mlflow.pytorch.log_model`, input example"),
            )
        ],
    )


def _time(publish: Callable[[int], None], epoch: int) -> float:
    started = time.perf_counter()
    publish(epoch)
    return time.perf_counter() - started


def ours(
    registry: Registry,
    folder: Path,
    network: torch.nn.Module,
    *,
    model: str = "benchmark",
) -> Callable[[int], None]:
    """Publishes an epoch of `network` as the next version of `model`."""
    preprocessing = Preprocessing(SIZE, SIZE)
    classifier = ImageClassifier(network, preprocessing)
    labels = Labels.from_ids(f"n{index:03}" for index in range(CLASSES))
    rng = np.random.default_rng(0)
    val = DecodedPart(
        names=tuple(map(str, range(IMAGES))),
        images=rng.integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8),
        targets=rng.integers(0, CLASSES, IMAGES),
        digest="0" * 64,
    )
    predictions = evaluate(classifier, val.images, val.targets)
    run = RunTracker.start(registry, experiment=model, tags={})
    spec = NetworkSpec("resnet18", "imagenet", CLASSES)
    parts = export_parts(
        classifier,
        labels=labels,
        preprocessing=preprocessing,
        network=spec,
        cache=folder / "cache",
    )
    tags = {"dataset_digest": val.digest}
    workspace = folder / "workspace"
    workspace.mkdir()
    publisher = Publisher(registry, run, model, parts, val, tags, workspace)
    metrics = predictions.metrics
    training = TrainingPass((RunningPoint(1, 1.0, metrics),), 0.1, 100.0)
    calibration = Calibration(error=0.1, temperature=1.0, cross_fitted_error=0.1)

    def publish(epoch: int) -> None:
        record = EpochRecord(
            epoch=epoch,
            training=training,
            val=metrics,
            train_subset=metrics,
            calibration=calibration,
        )
        publisher.publish(
            Checkpoint(
                record=record,
                weights=state_of(classifier),
                predictions=predictions,
            )
        )

    return publish


def _theirs(folder: Path, network: torch.nn.Module) -> Callable[[int], None]:
    example = np.zeros((2, 3, SIZE, SIZE), np.float32)

    def publish(epoch: int) -> None:
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        if mlflow.get_experiment_by_name("benchmark") is None:
            mlflow.create_experiment("benchmark", str(folder / "mlruns"))
        mlflow.set_experiment("benchmark")
        with mlflow.start_run():
            mlflow.log_metric("val_loss", 1.0, step=epoch)
            mlflow.pytorch.log_model(
                network.eval(),
                name="model",
                step=epoch,
                input_example=example,
                registered_model_name="benchmark",
            )

    return publish


if __name__ == "__main__":
    main()

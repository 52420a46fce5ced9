"""Measurements of a run: running points, epoch records, history, checkpoints."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifier.metrics import IntArray
from training.evaluation.calibration import Calibration, calibrate
from training.evaluation.class_metrics import macro_means
from training.evaluation.evaluate import Metrics, Predictions

if TYPE_CHECKING:  # torch takes 4 s to import, and an imported graph needs none of it
    from torch import Tensor


def now_ms() -> int:
    """The time in ms since 1970, as MLflow counts it."""
    return int(time.time() * 1000)


@dataclass(frozen=True)
class RunningPoint:
    """The running averages of an epoch, from its first step to this one."""

    step: int
    """Optimiser step, counted from 1 through the whole run."""

    seen: float
    """Share of the epoch that was done, 0..1."""

    metrics: Metrics
    time_ms: int = 0
    """Time of the measurement in ms since 1970. MLflow ignores a point with equal key,
    step, value and time, so logging it again adds nothing."""


@dataclass(frozen=True)
class TrainingPass:
    """One epoch's training: `points[-1]` is its average."""

    points: tuple[RunningPoint, ...]
    lr: float
    images_per_second: float

    @property
    def metrics(self) -> Metrics:
        return self.points[-1].metrics


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    epoch: int
    """1-based."""

    training: TrainingPass
    val: Metrics
    train_subset: Metrics
    """On a fixed sample of the training images, measured as validation images are."""

    calibration: Calibration
    """On the validation images."""

    macro_f1: float | None = None
    balanced_accuracy: float | None = None
    """Means over the classes of the validation images. None in states of before."""

    @property
    def time_ms(self) -> int:
        """When the epoch's training ended, in ms since 1970."""
        return self.training.points[-1].time_ms


@dataclass
class History:
    """The epochs so far, and each epoch's answers for each validation image."""

    epochs: list[EpochRecord] = field(default_factory=list)
    first_answers: list[IntArray] = field(default_factory=list)
    """Per epoch, the class answered first for each of N validation images, [N]."""

    target_probabilities: list[NDArray[np.float32]] = field(default_factory=list)
    """Per epoch, the probability given to each image's true class, [N]."""

    @property
    def best(self) -> EpochRecord:
        """Highest validation top-1; the earliest of equals."""
        return max(self.epochs, key=lambda record: record.val.top1_accuracy)

    @property
    def best_loss(self) -> EpochRecord:
        """Lowest validation loss; the earliest of equals."""
        return min(self.epochs, key=lambda record: record.val.loss)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The network's state after an epoch, as copies that training does not change."""

    record: EpochRecord
    weights: Mapping[str, NDArray[np.generic]]
    """The state dict to publish."""

    predictions: Predictions
    """Measured with these weights on the validation images."""


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """An epoch's results before their metrics are computed, as copies."""

    epoch: int
    training: TrainingPass
    weights: Mapping[str, NDArray[np.generic]]
    predictions: Predictions
    of_sample: Predictions
    """On the fixed sample of the training images."""

    training_state: "Mapping[str, Tensor]"
    """All tensors that the next epoch depends on."""

    def checkpoint(self) -> Checkpoint:
        """Takes 0.15 s for 10,000 validation images of 200 classes, so it runs in the
        background."""
        predictions = self.predictions
        macro_f1, balanced_accuracy = macro_means(
            predictions.targets,
            predictions.first_answers,
            classes=predictions.logits.shape[1],
        )
        record = EpochRecord(
            epoch=self.epoch,
            training=self.training,
            val=predictions.metrics,
            train_subset=self.of_sample.metrics,
            calibration=calibrate(predictions.logits, predictions.targets),
            macro_f1=macro_f1,
            balanced_accuracy=balanced_accuracy,
        )
        return Checkpoint(record=record, weights=self.weights, predictions=predictions)

"""What a run measured, epoch by epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from classifier.metrics import IntArray
from training.evaluation.calibration import Calibration, calibrate
from training.evaluation.evaluate import Metrics, Predictions


@dataclass(frozen=True)
class RunningPoint:
    """The running averages of an epoch, from its first step to this one."""

    step: int
    """Optimiser step, counted from 1 through the whole run."""

    seen: float
    """How much of the epoch lay behind, 0..1."""

    metrics: Metrics
    time_ms: int = 0
    """When it was measured, in ms since 1970. MLflow takes a point that it has for the
    same one if key, step, value and time are equal, so that logging it again after a
    death adds nothing."""


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

    @property
    def time_ms(self) -> int:
        """When the epoch's training ended, in ms since 1970."""
        return self.training.points[-1].time_ms


@dataclass
class History:
    """The epochs so far, and what each of them said of each validation image."""

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
    """Copies, so that training goes on while they are written."""

    record: EpochRecord
    weights: Mapping[str, NDArray[np.generic]]
    """The state dict to publish."""

    predictions: Predictions
    """Of these weights, on the validation images."""

    training_state: Mapping[str, Tensor]
    """What the next epoch depends on."""


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What a checkpoint is made of, before anything of it is measured: copies, too."""

    epoch: int
    training: TrainingPass
    weights: Mapping[str, NDArray[np.generic]]
    predictions: Predictions
    of_sample: Predictions
    """On the fixed sample of the training images."""

    training_state: Mapping[str, Tensor]

    def checkpoint(self) -> Checkpoint:
        """In 0.15 s for 10,000 validation images of 200 classes: not for the thread
        that trains."""
        predictions = self.predictions
        record = EpochRecord(
            epoch=self.epoch,
            training=self.training,
            val=predictions.metrics,
            train_subset=self.of_sample.metrics,
            calibration=calibrate(predictions.logits, predictions.targets),
        )
        return Checkpoint(
            record=record,
            weights=self.weights,
            predictions=predictions,
            training_state=self.training_state,
        )

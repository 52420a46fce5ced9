"""Statistics of a run's curves: overfitting, trends, standard errors."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from training.evaluation.epoch import EpochRecord, History

OVERFIT_LOSS_RISE = 0.05
"""Prechelt's generalisation loss, as a fraction of the least validation loss, from
which a run is said to overfit ("Early Stopping - But When?", 1998, section 2.2)."""

STILL_FALLING = 0.03
"""Fall of validation loss over the last quarter of a run that is not done."""

LATER_PART = 0.25
"""Where the later part of an epoch begins: averages before it are over few images."""

_LEAST_LOSS = 1e-6
"""Nats: a network that is right and sure of all images has a loss of 0, and any
rise from there would be infinite."""


def loss_rise(loss: float, *, over: float) -> float:
    """Rise of a loss above `over`, as a fraction of it; negative below."""
    return (loss - over) / max(over, _LEAST_LOSS)


def generalisation_loss(history: History) -> list[float]:
    """How far each epoch's validation loss lies above the least so far, as a fraction.

    Prechelt 1998, GL(t) / 100.
    """
    losses = [record.val.loss for record in history.epochs]
    least = np.minimum.accumulate(losses)
    return [
        loss_rise(loss, over=float(low))
        for loss, low in zip(losses, least, strict=True)
    ]


def overfit_since(history: History) -> int | None:
    """The first epoch from which validation loss stays above OVERFIT_LOSS_RISE.

    None if the run ends below it.
    """
    since = None
    for record, rise in zip(history.epochs, generalisation_loss(history), strict=True):
        if rise <= OVERFIT_LOSS_RISE:
            since = None
        elif since is None:
            since = record.epoch
    return since


def late_fall(history: History) -> float:
    """The fraction that validation loss fell by over the last quarter of the epochs.

    0 if the last epoch is not the least.
    """
    epochs = history.epochs
    if history.best_loss is not epochs[-1] or len(epochs) < 2:
        return 0.0
    before = epochs[-1 - max(1, len(epochs) // 4)].val.loss
    return -loss_rise(epochs[-1].val.loss, over=before)


def slope_within_epoch(record: EpochRecord) -> float | None:
    """Change of the running top-1 accuracy per epoch, over the epoch's later part.

    The least-squares slope of its points against the share of the epoch; -0.01 falls
    by a point in an epoch. None for epochs of under three such points.
    """
    later = [point for point in record.training.points if point.seen >= LATER_PART]
    if len(later) < 3:
        return None
    seen = np.array([point.seen for point in later])
    top1 = np.array([point.metrics.top1_accuracy for point in later])
    centred = seen - seen.mean()
    return float((centred @ (top1 - top1.mean())) / (centred @ centred))


def is_trend(slopes: Sequence[float]) -> bool:
    """Whether their mean is over two of its standard errors; true of a single one."""
    if len(slopes) == 1:
        return True
    error = float(np.std(slopes, ddof=1)) / math.sqrt(len(slopes))
    return abs(float(np.mean(slopes))) > 2 * error


def standard_error(accuracy: float, images: int) -> float:
    """Binomial standard error of an accuracy measured on `images`."""
    return math.sqrt(accuracy * (1 - accuracy) / images)


def earliest_as_good(history: History, *, images: int) -> EpochRecord:
    """The first epoch whose top-1 is within one standard error of the best's.

    Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3.
    """
    best = history.best.val.top1_accuracy
    floor = best - standard_error(best, images)
    return next(r for r in history.epochs if r.val.top1_accuracy >= floor)


def epochs_without_improvement(accuracies: Sequence[float], *, images: int) -> int:
    """Epochs since the last accuracy that was better beyond noise.

    Better than the one before that was: by more than one standard error of it. So
    small gains count as soon as they add up.
    """
    best, since = -1.0, 0
    for accuracy in accuracies:
        if best < 0 or accuracy > best + standard_error(best, images):
            best, since = accuracy, 0
        else:
            since += 1
    return since


def most_optimism(history: History, *, images: int) -> float:
    """How much too high the best top-1 is on average, as a fraction, at most.

    That is the expected highest of E normal errors, were all E epochs equally good and
    their errors independent; those of one run err on the same images, which makes it
    less (Slepian's inequality). Blom's approximation ("Statistical Estimates and
    Transformed Beta-Variables", 1958): 0 for one epoch, 0.2 % too much for 16.
    """
    epochs = len(history.epochs)
    highest = NormalDist().inv_cdf((epochs - 0.375) / (epochs + 0.25))
    return highest * standard_error(history.best.val.top1_accuracy, images)


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def points(fraction: float) -> str:
    """A difference of two shares."""
    return f"{100 * fraction:.2f} points"

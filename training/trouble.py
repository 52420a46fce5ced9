"""A run that did not come to learning: it diverged, stands still, or is not settled."""

import math
from dataclasses import dataclass

from training.curves import percent, points, standard_error
from training.history import EpochRecord, History
from training.recipes import LEAST_STEPS

DIVERGED = 2.0
"""Times a guess's loss: a network that only guesses does not reach it."""

FELL_BACK = 1.5
"""Times the least training loss, above a guess's: a run that had learnt and lost it."""

LOST = 1.05
"""Times the least training loss: above it a run has lost some of what it had learnt."""

UNSETTLED = 0.1
"""How far the accuracy in training is above that of the same images measured where the
network that is measured is not the one that was trained."""

FEW_STEPS = 100
"""Below it a run that learns nothing may have had too few of them."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The training images that are measured after each epoch."""

    images: int
    classes: int
    chance: float
    """The share of its commonest class, 0..1: what always naming that one reaches."""

    @property
    def guess_loss(self) -> float:
        """Nats, of equal probabilities for all classes."""
        return math.log(self.classes)

    def is_chance(self, accuracy: float) -> bool:
        """Whether it is within two standard errors of naming one class always."""
        return accuracy <= self.chance + 2 * standard_error(self.chance, self.images)


def trouble_line(history: History, sample: Sample) -> str | None:
    """None where the network that is measured has learnt its images, or some of them.

    Asked before overfitting: a gap between parts means nothing where neither is learnt.
    """
    for find in (_diverged, _unsettled, _not_learning):
        if (line := find(history, sample)) is not None:
            return line
    return None


def _diverged(history: History, sample: Sample) -> str | None:
    losses = [record.training.metrics.loss for record in history.epochs]
    last, least, guess = losses[-1], min(losses), sample.guess_loss
    advice = (
        "This is no overfitting: the steps are too large. Try a lower --lr, here "
        f"{_highest_rate(history):.3g}."
    )
    is_rising = last > least or len(losses) == 1
    if last > max(guess, min(DIVERGED * guess, FELL_BACK * least)) and is_rising:
        return (
            f"* It diverged: the training loss is {last:.4g} in the last epoch, its "
            f"least was {least:.4g}, and a guess among {sample.classes} classes has "
            f"{guess:.4g}. {advice}"
        )
    measured = [record.train_subset.top1_accuracy for record in history.epochs]
    top = max(measured)
    if not sample.is_chance(measured[-1]) or sample.is_chance(top):
        return None
    if _gap(history.epochs[-1]) > UNSETTLED or last <= LOST * least:
        return None
    return (
        f"* It diverged: {percent(top)} of the training images were right after epoch "
        f"{1 + measured.index(top)}, and {percent(measured[-1])} are at the end, which "
        f"is chance ({percent(sample.chance)}). {advice}"
    )


def _unsettled(history: History, sample: Sample) -> str | None:
    last = history.epochs[-1]
    running, measured = (
        metrics.top1_accuracy for metrics in (last.training.metrics, last.train_subset)
    )
    noise = 2 * math.sqrt(2) * standard_error(running, sample.images)
    if _gap(last) <= max(UNSETTLED, noise):
        return None
    return (
        f"* Its statistics are not settled: in training {percent(running)} of the "
        f"images were right in the last epoch, and {percent(measured)} when training "
        f"images were measured after it, {points(running - measured)} fewer. The "
        "network that is measured and published has batch norm's statistics (and "
        "averaged weights, where the recipe has them) that the steps have not brought "
        f"near yet: {_steps(history)} steps of {len(history.epochs)} epochs. This is "
        "no overfitting. More epochs, smaller batches (--batch-size auto) or a lower "
        f"--lr, here {_highest_rate(history):.3g}, help."
    )


def _not_learning(history: History, sample: Sample) -> str | None:
    last = history.epochs[-1]
    measured = last.train_subset.top1_accuracy
    if not sample.is_chance(measured):
        return None
    steps = _steps(history)
    loss = last.train_subset.loss
    wild = (
        f" Measured, their loss is {loss:.4g}: batch norm's statistics are not settled "
        "either."
        if loss > DIVERGED * max(sample.guess_loss, last.training.metrics.loss)
        else ""
    )
    smaller = (
        ", or smaller batches (--batch-size auto)"
        if steps < LEAST_STEPS * len(history.epochs)
        else ""
    )
    few = (
        f" Steps were few, {steps} in all: train more epochs{smaller}."
        if steps < FEW_STEPS
        else ""
    )
    return (
        f"* It is not learning: at the end it gets {percent(measured)} of the training "
        f"images right, and naming the commonest of {sample.classes} classes always "
        f"would get {percent(sample.chance)}; the training loss is "
        f"{last.training.metrics.loss:.4g}, and a guess has {sample.guess_loss:.4g}. "
        f"This is no overfitting.{wild}{few} Try a lower and a higher --lr (here "
        f"{_highest_rate(history):.3g}), and look whether the images lie in the "
        "folders of their classes."
    )


def _gap(record: EpochRecord) -> float:
    return record.training.metrics.top1_accuracy - record.train_subset.top1_accuracy


def _steps(history: History) -> int:
    return history.epochs[-1].training.points[-1].step


def _highest_rate(history: History) -> float:
    return max(record.training.lr for record in history.epochs)

"""The diagnosis of a run: what its curves show, in plain words with their numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.epoch import EpochRecord, History
from training.recipes import LEAST_STEPS
from training.reports.curves import (
    LATER_PART,
    OVERFIT_LOSS_RISE,
    STILL_FALLING,
    earliest_as_good,
    generalisation_loss,
    is_trend,
    late_fall,
    loss_rise,
    most_optimism,
    overfit_since,
    percent,
    points,
    slope_within_epoch,
    standard_error,
)

STANDARD_ERRORS = 1.96

MEMORISED = 0.1
"""Training top-1 minus validation top-1, from which images count as memorised."""

NOTABLE_SLOPE = 0.005
"""Slope of the running top-1 within an epoch; a smaller one counts as no trend."""

DIVERGED = 2.0
"""Multiple of a guess's loss that a guessing network does not reach."""

FELL_BACK = 1.5
"""Multiple of the least training loss. A run above it, and above a guess's loss, has
lost what it had learnt."""

LOST = 1.05
"""Multiple of the least training loss above which a run has lost some of it."""

UNSETTLED = 0.1
"""Accuracy in training minus measured accuracy of training images, from which batch
norm statistics count as not settled."""

FEW_STEPS = 100
"""A run of fewer steps that learns nothing may have had too few."""

_ADVICE = {
    "plain": "random crops and mirroring, a falling learning rate (--recipe strong has "
    "them) or fewer epochs would",
    "strong": "more images, stronger regularisation or fewer epochs would",
    "finetune": "more images, a lower --lr or fewer epochs would",
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The fixed sample of training images that is measured after each epoch."""

    images: int
    classes: int
    chance: float
    """Share of its commonest class, 0..1: the accuracy of always naming that class."""

    @property
    def guess_loss(self) -> float:
        """Loss in nats of equal probabilities for all classes."""
        return math.log(self.classes)

    def is_chance(self, accuracy: float) -> bool:
        """Whether it is at most two standard errors above always naming one class."""
        return accuracy <= self.chance + 2 * standard_error(self.chance, self.images)


def diagnose(history: History, *, recipe: str, val_images: int, sample: Sample) -> str:
    """The diagnosis as Markdown."""
    # Before overfitting: a gap between training and validation means nothing if neither
    # is learnt.
    trouble = (
        _diverged(history, sample)
        or _unsettled(history, sample)
        or _not_learning(history, sample)
    )
    lines = [
        "# What this run learnt",
        "",
        _best_line(history, val_images, is_sound=trouble is None),
        _loss_line(history),
        trouble or _overfit_line(history, recipe),
        _calibration_line(history),
        _late_line(history.epochs),
        "",
        _end_paragraph(history.epochs[-1], classes=sample.classes),
        "",
        _choice_paragraph(history, val_images),
        "",
    ]
    return "\n".join(lines)


def _best_line(history: History, val_images: int, *, is_sound: bool) -> str:
    best, last = history.best, history.epochs[-1]
    accuracy = best.val.top1_accuracy
    line = f"* Best top-1: epoch {best.epoch}, {percent(accuracy)}."
    if best is last:
        more = ": more epochs may give more" if is_sound else ""
        return f"{line} That is the last one{more}."
    behind = accuracy - last.val.top1_accuracy
    if behind == 0:
        return f"{line} The last epoch equals it."
    # Unpaired, so too large for two epochs measured on the same images.
    noise = STANDARD_ERRORS * 2**0.5 * standard_error(accuracy, val_images)
    verdict = (
        f"more than chance explains with {val_images:,} images"
        if behind > noise
        else f"which chance can explain with {val_images:,} images; compare them"
    )
    return f"{line} The last epoch is {points(behind)} behind, {verdict}."


def _loss_line(history: History) -> str:
    least, last = history.best_loss, history.epochs[-1]
    line = f"* Least validation loss: epoch {least.epoch}, {least.val.loss:.4f}."
    if least is last:
        return line
    rise = loss_rise(last.val.loss, over=least.val.loss)
    return f"{line} By the last epoch it rose to {last.val.loss:.4f}, {rise:+.0%}."


def _overfit_line(history: History, recipe: str) -> str:
    since, last = overfit_since(history), history.epochs[-1]
    gap = last.train_subset.top1_accuracy - last.val.top1_accuracy
    gap_text = (
        f"at the end it gets {percent(last.train_subset.top1_accuracy)} of the "
        f"training images right and {percent(last.val.top1_accuracy)} of the others"
    )
    if since is not None:
        rise = generalisation_loss(history)[-1]
        too = ", while it memorises the training images" if gap > MEMORISED else ""
        return (
            f"* It overfits since epoch {since}: validation loss stays over "
            f"{OVERFIT_LOSS_RISE:.0%} above its least, {rise:+.0%} at the end"
            f"{too} ({gap_text}).{_later_best(history, since)} More of the "
            f"same would not help; {_ADVICE[recipe]}."
        )
    if history.best_loss is last and gap < MEMORISED / 2:
        return (
            f"* It does not overfit, and is still learning: {gap_text}, and validation "
            "loss was least at the end. More epochs would help."
        )
    if (fall := late_fall(history)) >= STILL_FALLING:
        return (
            "* It is still learning: validation loss was least at the end, and fell by "
            f"{fall:.0%} in the last quarter of the epochs. Training images run ahead: "
            f"{gap_text}. More epochs may help."
        )
    if gap > MEMORISED:
        return (
            f"* It memorises the training images ({gap_text}), though validation "
            f"loss ends near its least. More of the same would not help; "
            f"{_ADVICE[recipe]}."
        )
    return f"* It does not overfit: {gap_text}; validation loss ends near its least."


def _later_best(history: History, since: int) -> str:
    """Guo et al. 2017, section 3: loss can overfit while accuracy still improves."""
    best = history.best
    if best.epoch <= since:
        return ""
    return (
        f" Accuracy was best later, at epoch {best.epoch}: what grew first is the "
        "confidence of wrong answers."
    )


def _calibration_line(history: History) -> str:
    best, last = history.best, history.epochs[-1]
    found = best.calibration
    line = (
        f"* Confidence at epoch {best.epoch} is {points(found.error)} away from "
        "accuracy on average (expected calibration error)"
    )
    kind = "over-confident" if found.temperature > 1 else "under-confident"
    fitted = f"logits divided by {found.temperature:.2f} fit best, which leaves "
    left = f"{points(found.cross_fitted_error)} on images it was not fitted on"
    if found.cross_fitted_error < found.error:
        line += f", {kind}: {fitted}{left}. /predict answers without it."
    else:
        line += f"; no temperature reduces it: {fitted}{left}."
    if last is not best:
        line += f" By the last epoch it is {points(last.calibration.error)}."
    return line


def _late_line(epochs: Sequence[EpochRecord]) -> str:
    late = epochs[-max(1, len(epochs) // 3) :]
    slopes = [s for s in map(slope_within_epoch, late) if s is not None]
    span = f"epochs {late[0].epoch} to {late[-1].epoch}"
    if late[0] is late[-1]:
        span = f"epoch {late[0].epoch}"
    if not slopes:
        return f"* Within {span}: too few steps an epoch to show a trend."
    slope = float(np.mean(slopes))
    falls = sum(s < 0 for s in slopes)
    how = (
        f"points an epoch (least squares over the last {1 - LATER_PART:.0%} of each; "
        f"down in {falls} of {len(slopes)})"
    )
    subject = f"* Within {span} the running top-1 accuracy in training"
    size = f"{100 * abs(slope):.2f}"
    if abs(slope) < NOTABLE_SLOPE or not is_trend(slopes):
        return f"{subject} shows no trend: {100 * slope:+.2f} {how}."
    if slope > 0:
        return f"{subject} rises, by {size} {how}."
    line = f"{subject} falls, by {size} {how}."
    if epochs[-1].training.lr < max(record.training.lr for record in epochs):
        return line
    return f"{line} A learning rate that falls towards the end usually prevents that."


def _end_paragraph(last: EpochRecord, *, classes: int) -> str:
    top5 = f" and {percent(last.val.top5_accuracy)} top-5" if classes > 5 else ""
    return (
        f"After the last epoch ({last.epoch}): {percent(last.val.top1_accuracy)} "
        f"top-1{top5} on validation, "
        f"{percent(last.train_subset.top1_accuracy)} top-1 on a fixed sample of the "
        f"training images, measured in the same way. The average in training, "
        f"{percent(last.training.metrics.top1_accuracy)}, is taken while the weights "
        "move, on images as the recipe alters them."
    )


def _choice_paragraph(history: History, val_images: int) -> str:
    epochs, best = len(history.epochs), history.best
    if epochs == 1:
        return "There was one epoch, so the best was not chosen among several."
    optimism = most_optimism(history, images=val_images)
    text = (
        "The best epoch was chosen on the very images it is judged on, so its accuracy "
        f"is optimistic: on average by at most {points(optimism)} for the best of "
        f"{epochs} epochs on {val_images:,} images, by less if they answer alike."
    )
    first = earliest_as_good(history, images=val_images)
    error = points(standard_error(best.val.top1_accuracy, val_images))
    if first is best:
        return f"{text} No earlier epoch is within one standard error of it ({error})."
    return (
        f"{text} The earliest within one standard error of it ({error}) is epoch "
        f"{first.epoch}, {percent(first.val.top1_accuracy)}: as good a choice, as far "
        "as these images show."
    )


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
        f"images right, and always naming the commonest of {sample.classes} classes "
        f"would get {percent(sample.chance)}; the training loss is "
        f"{last.training.metrics.loss:.4g}, and that of a guess "
        f"{sample.guess_loss:.4g}. This is no overfitting.{wild}{few} Try a lower and "
        f"a higher --lr (here {_highest_rate(history):.3g}), and check that the images "
        "lie in the folders of their classes."
    )


def _gap(record: EpochRecord) -> float:
    return record.training.metrics.top1_accuracy - record.train_subset.top1_accuracy


def _steps(history: History) -> int:
    return history.epochs[-1].training.points[-1].step


def _highest_rate(history: History) -> float:
    return max(record.training.lr for record in history.epochs)

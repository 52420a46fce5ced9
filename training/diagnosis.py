"""What the curves of a run say, in plain words."""

from collections.abc import Sequence

import numpy as np

from training.history import EpochRecord, History

OVERFIT_LOSS_RISE = 0.05
"""Prechelt's generalisation loss, as a fraction of the least validation loss, from
which a run is said to overfit ("Early Stopping - But When?", 1998, section 2.2)."""

STANDARD_ERRORS = 1.96

_ADVICE = {
    "plain": "random crops and mirroring, a falling learning rate (--recipe strong has "
    "them) or fewer epochs would",
    "strong": "more images, stronger regularisation or fewer epochs would",
}


def diagnose(history: History, *, recipe: str, val_images: int) -> str:
    """Markdown; every sentence carries its numbers."""
    last = history.epochs[-1]
    lines = [
        "# What this run learnt",
        "",
        _best_line(history, val_images),
        _loss_line(history),
        _overfit_line(history, recipe),
        _late_line(history.epochs),
        "",
        f"After the last epoch ({last.epoch}): {_percent(last.val.top1_accuracy)} "
        f"top-1 and {_percent(last.val.top5_accuracy)} top-5 on validation, "
        f"{_percent(last.training.metrics.top1_accuracy)} top-1 over the epoch in "
        f"training.",
        "",
        "The best epoch was chosen on the very images it is judged on, so its accuracy "
        "is a little optimistic.",
        "",
    ]
    return "\n".join(lines)


def generalisation_loss(history: History) -> list[float]:
    """How far each epoch's validation loss lies above the least so far, as a fraction.

    Prechelt 1998, GL(t) / 100.
    """
    losses = np.array([record.val.loss for record in history.epochs])
    rises: list[float] = (losses / np.minimum.accumulate(losses) - 1).tolist()
    return rises


def overfit_since(history: History) -> int | None:
    """The first epoch from which validation loss stays above OVERFIT_LOSS_RISE.

    None where the run ends without.
    """
    since = None
    for record, rise in zip(history.epochs, generalisation_loss(history), strict=True):
        if rise <= OVERFIT_LOSS_RISE:
            since = None
        elif since is None:
            since = record.epoch
    return since


def fall_within_epoch(record: EpochRecord) -> float | None:
    """How far the running top-1 accuracy fell from a quarter of the epoch to its end.

    Negative where it rose; None for epochs of too few measured points. The first
    quarter is left out: its averages are over few images.
    """
    later = [point for point in record.training.points if point.seen >= 0.25]
    if len(later) < 3:
        return None
    return later[0].metrics.top1_accuracy - later[-1].metrics.top1_accuracy


def _best_line(history: History, val_images: int) -> str:
    best, last = history.best, history.epochs[-1]
    accuracy = best.val.top1_accuracy
    line = f"* Best top-1: epoch {best.epoch}, {_percent(accuracy)}."
    if best is last:
        return line + " That is the last one: more epochs may give more."
    behind = accuracy - last.val.top1_accuracy
    if behind == 0:
        return f"{line} The last epoch equals it."
    # Unpaired, so on the safe side for two epochs measured on the same images.
    noise = STANDARD_ERRORS * float(np.sqrt(2 * accuracy * (1 - accuracy) / val_images))
    verdict = (
        f"more than {val_images:,} images leave to chance"
        if behind > noise
        else f"no more than {val_images:,} images leave to chance; compare tells more"
    )
    return f"{line} The last epoch is {_points(behind)} behind, {verdict}."


def _loss_line(history: History) -> str:
    least, last = history.best_loss, history.epochs[-1]
    line = f"* Least validation loss: epoch {least.epoch}, {least.val.loss:.4f}."
    if least is last:
        return line
    rise = last.val.loss / least.val.loss - 1
    return f"{line} By the last epoch it rose to {last.val.loss:.4f}, {rise:+.0%}."


def _overfit_line(history: History, recipe: str) -> str:
    since, last = overfit_since(history), history.epochs[-1]
    gap = last.training.metrics.top1_accuracy - last.val.top1_accuracy
    gap_text = (
        f"at the end it gets {_percent(last.training.metrics.top1_accuracy)} of the "
        f"training images right and {_percent(last.val.top1_accuracy)} of the others"
    )
    if since is not None:
        rise = generalisation_loss(history)[-1]
        while_ = ", while it learns the training images by heart" if gap > 0.1 else ""
        return (
            f"* It overfits since epoch {since}: validation loss stays over "
            f"{OVERFIT_LOSS_RISE:.0%} above its least, {rise:+.0%} at the end"
            f"{while_} ({gap_text}). More of the same would not help; "
            f"{_ADVICE[recipe]}."
        )
    if history.best_loss is last and gap < 0.05:
        return (
            f"* It does not overfit, and is still learning: {gap_text}, and validation "
            "loss was least at the end. More epochs would help."
        )
    return f"* It does not overfit: {gap_text}; validation loss ends near its least."


def _late_line(epochs: Sequence[EpochRecord]) -> str:
    late = epochs[-max(1, len(epochs) // 3) :]
    falls = [fall for fall in map(fall_within_epoch, late) if fall is not None]
    span = f"epochs {late[0].epoch} to {late[-1].epoch}"
    if late[0] is late[-1]:
        span = f"epoch {late[0].epoch}"
    if not falls:
        return f"* Within {span}: too few steps an epoch to tell a trend."
    mean = float(np.mean(falls))
    if mean > 0.005:
        return (
            f"* Within {span} the running top-1 accuracy in training falls, by "
            f"{_points(mean)} from a quarter of the epoch to its end. A learning rate "
            "that falls towards the end of the run usually mends that."
        )
    word = "rises" if mean < -0.005 else "holds"
    return (
        f"* Within {span} the running top-1 accuracy in training {word} "
        f"({_points(-mean, signed=True)} from a quarter of the epoch to its end)."
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def _points(fraction: float, *, signed: bool = False) -> str:
    return f"{100 * fraction:{'+' if signed else ''}.2f} points"

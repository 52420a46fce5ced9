"""The curves of a run as pictures that `mlflow ui` shows inline."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from training.evaluate import Metrics
from training.history import EpochRecord, History

# Okabe and Ito's palette: told apart by the colour-blind too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"

_BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13)}
"""Where a legend hides no curve."""


def draw_pictures(history: History, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _save(_epochs_figure(history), folder / "epochs.png")
    _save(_running_figure(history.epochs), folder / "running.png")


def _epochs_figure(history: History) -> Figure:
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    epochs = [record.epoch for record in history.epochs]
    for part, style, of in (
        ("train, over the epoch", "--", lambda record: record.training.metrics),
        ("validation", "-", lambda record: record.val),
    ):
        metrics = [of(record) for record in history.epochs]
        _line(accuracy, epochs, [m.top1_accuracy for m in metrics], BLUE, style, part)
        _line(accuracy, epochs, [m.top5_accuracy for m in metrics], ORANGE, style, part)
        _line(loss, epochs, [m.loss for m in metrics], GREEN, style, part)
    _label_ends(accuracy, ("top-1", BLUE), ("top-5", ORANGE))
    _mark(accuracy, history.best, lambda m: m.top1_accuracy, "best top-1", below=True)
    _mark(loss, history.best_loss, lambda m: m.loss, "least loss", below=False)
    accuracy.set(title="Accuracy", xlabel="epoch")
    _scale_accuracies(accuracy)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    loss.set(title="Cross-entropy", xlabel="epoch")
    _scale_losses(loss, history)
    loss.legend(frameon=False, ncols=2, **_BELOW)
    for axes in (accuracy, loss):
        _tidy(axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _running_figure(epochs: Sequence[EpochRecord]) -> Figure:
    """One line an epoch: how the running average moved from its start to its end."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    colors = ScalarMappable(Normalize(1, max(2, len(epochs))), "viridis")
    figure.colorbar(colors, ax=panels, label="epoch", ticks=MaxNLocator(integer=True))
    for axes, name, of in (
        (panels[0], "top-1", lambda m: m.top1_accuracy),
        (panels[1], "top-5", lambda m: m.top5_accuracy),
    ):
        for record in epochs:
            points = record.training.points
            seen, values = [p.seen for p in points], [of(p.metrics) for p in points]
            color = colors.to_rgba(np.array(record.epoch))
            axes.plot(seen, values, color=color, linewidth=1.2, marker=".")
        axes.set(title=f"Running {name} accuracy in training", xlabel="of the epoch")
        axes.set(xlim=(0, 1.02))
        _scale_accuracies(axes)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _tidy(axes)
    return figure


def _scale_accuracies(axes: Any) -> None:
    """From 0 to what was reached: a first epoch at 3 % is to be seen as well."""
    axes.set_ylim(bottom=0, top=min(1.02, axes.get_ylim()[1]))


def _scale_losses(axes: Any, history: History) -> None:
    """From 0, unless one wild epoch would press all others against it."""
    losses = [record.val.loss for record in history.epochs]
    losses += [record.training.metrics.loss for record in history.epochs]
    if min(losses) > 0 and max(losses) > 20 * sorted(losses)[len(losses) // 2]:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def _line(
    axes: Any, x: Sequence[int], y: Sequence[float], color: str, style: str, label: str
) -> None:
    marker = "." if len(x) < 40 else ""
    axes.plot(x, y, color=color, linestyle=style, marker=marker, label=label)


def _label_ends(axes: Any, *names: tuple[str, str]) -> None:
    """One legend for colour and dash, instead of four entries."""
    handles = [axes.plot([], [], color=color, label=name)[0] for name, color in names]
    handles += [
        axes.plot([], [], color=GREY, linestyle=style, label=label)[0]
        for label, style in (("train, over the epoch", "--"), ("validation", "-"))
    ]
    axes.legend(handles=handles, frameon=False, ncols=4, **_BELOW)


def _mark(
    axes: Any,
    record: EpochRecord,
    of: Callable[[Metrics], float],
    what: str,
    *,
    below: bool,
) -> None:
    axes.annotate(
        f"{what}: epoch {record.epoch}",
        (record.epoch, of(record.val)),
        xytext=(0, -30 if below else 30),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        arrowprops={"arrowstyle": "->", "color": GREY},
    )


def _tidy(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110)

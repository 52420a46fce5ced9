"""Plots of a run's curves, over the epochs and within them, and of its churn."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from classifier.console.text import printable
from classifier.metrics import IntArray
from training.evaluation.epoch import EpochRecord, History
from training.evaluation.evaluate import Metrics

# Okabe and Ito's palette, which colour-blind people can distinguish.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
LIGHT_BLUE = "#56B4E9"

WIDTH = 8.0
"""Inches. `mlflow ui` shows a picture 550 to 900 pixels wide: at DPI, letters of 10
points are 8 to 12 pixels high there."""

DPI = 130


def tidy(axes: Any, grid: Literal["both", "x", "y"] = "both") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        # A class named in a script that the font lacks gets boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(path, dpi=DPI)


def shortened(name: str, length: int) -> str:
    """At most `length` characters, as matplotlib shows them: `$` begins no formula."""
    name = printable(name)
    kept = name if len(name) <= length else name[: length - 1].rstrip() + "…"
    return kept.replace("$", r"\$")


_BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "frameon": False}
"""Position of a legend below the axes, where it hides no curve."""

_PARTS: tuple[tuple[str, str, Callable[[EpochRecord], Metrics]], ...] = (
    ("validation", "-", lambda record: record.val),
    ("training sample", "--", lambda record: record.train_subset),
    ("training, over the epoch", ":", lambda record: record.training.metrics),
)
"""Name, dash, and how to get the metrics from a record."""


def epochs_figure(history: History, *, has_top5: bool = True) -> Figure:
    """Accuracy over loss, per epoch, with both best epochs marked."""
    figure = Figure(figsize=(WIDTH, 8.6), layout="constrained")
    accuracy, loss = figure.subplots(2, 1)
    epochs = [record.epoch for record in history.epochs]
    for _, dash, of in _PARTS:
        metrics = [of(record) for record in history.epochs]
        _line(accuracy, epochs, [m.top1_accuracy for m in metrics], BLUE, dash)
        if has_top5:
            _line(accuracy, epochs, [m.top5_accuracy for m in metrics], ORANGE, dash)
        _line(loss, epochs, [m.loss for m in metrics], GREEN, dash)
    _scale_accuracies(accuracy)
    _scale_losses(loss, history)
    _legend(accuracy, ("top-1", BLUE), *([("top-5", ORANGE)] if has_top5 else []))
    _legend(loss)
    for axes, title in ((accuracy, "Accuracy"), (loss, "Cross-entropy")):
        axes.set(title=title, xlabel="epoch", xlim=(0.5, len(epochs) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        tidy(axes)
    _mark(accuracy, history.best, lambda m: m.top1_accuracy, "best top-1")
    _mark(loss, history.best_loss, lambda m: m.loss, "least loss")
    return figure


def running_figure(epochs: Sequence[EpochRecord], *, has_top5: bool = True) -> Figure:
    """One line an epoch: how the running average moved from its start to its end."""
    names: list[tuple[str, Callable[[Metrics], float]]] = [
        ("top-1", lambda m: m.top1_accuracy)
    ]
    if has_top5:
        names.append(("top-5", lambda m: m.top5_accuracy))
    figure = Figure(figsize=(WIDTH, 4 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    colors = ScalarMappable(Normalize(1, max(2, len(epochs))), "viridis")
    figure.colorbar(colors, ax=panels, label="epoch", ticks=MaxNLocator(integer=True))
    for axes, (name, of) in zip(panels, names, strict=True):
        for record in epochs:
            points = record.training.points
            seen, values = [p.seen for p in points], [of(p.metrics) for p in points]
            color = colors.to_rgba(np.array(record.epoch))
            marker = "." if len(points) < 10 else ""
            axes.plot(seen, values, color=color, linewidth=1.3, marker=marker)
        axes.set(title=f"Running {name} accuracy in training", xlabel="of the epoch")
        axes.set(xlim=(0, 1.02))
        _scale_accuracies(axes)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        tidy(axes)
    return figure


def _scale_accuracies(axes: Any) -> None:
    """From 0 to what was reached: a first epoch at 3 % is to be seen as well."""
    axes.set_ylim(bottom=0, top=min(1.02, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _scale_losses(axes: Any, history: History) -> None:
    """From 0, unless one wild epoch would press all others against it."""
    losses = [of(record).loss for record in history.epochs for _, _, of in _PARTS]
    if min(losses) > 0 and max(losses) > 20 * sorted(losses)[len(losses) // 2]:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)


def _line(
    axes: Any, x: Sequence[int], y: Sequence[float], color: str, dash: str
) -> None:
    marker = "." if len(x) < 40 else ""
    width = 1.2 if dash == ":" else 1.7
    axes.plot(x, y, color=color, linestyle=dash, linewidth=width, marker=marker)


def _legend(axes: Any, *names: tuple[str, str]) -> None:
    """Colour and dash apart, instead of an entry for each of both."""
    handles = [axes.plot([], [], color=color, label=name)[0] for name, color in names]
    handles += [
        axes.plot([], [], color=GREY, linestyle=dash, label=part)[0]
        for part, dash, _ in _PARTS
    ]
    axes.legend(handles=handles, ncols=5, fontsize=9, columnspacing=1.2, **_BELOW)


def _mark(
    axes: Any, record: EpochRecord, of: Callable[[Metrics], float], label: str
) -> None:
    """Labels the point on the side that has room; the axes have their limits by now."""
    place = (record.epoch, of(record.val))
    across, up = axes.transAxes.inverted().transform(axes.transData.transform(place))
    below = up > 0.25
    side: Literal["left", "center", "right"] = "center"
    if not 0.15 < across < 0.85:
        side = "left" if across < 0.5 else "right"
    ring = {"marker": "o", "markersize": 9, "fillstyle": "none", "color": "black"}
    axes.plot(*place, clip_on=False, **ring)
    axes.annotate(
        f"{label}: epoch {record.epoch}",
        place,
        xytext=(0, -26 if below else 16),
        textcoords="offset points",
        ha=side,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
    )


MOST_WITH_NUMBERS = 20
"""Epochs up to which a cell has room for its number."""


def churn(first_answers: Sequence[IntArray]) -> NDArray[np.float64]:
    """[E, E]: the share of images, 0..1, whose first answers differ between epochs."""
    answers = np.stack(first_answers).astype(np.int32)  # [E, N]
    return np.stack([(answers != row).mean(axis=1) for row in answers])


def churn_figure(history: History) -> Figure:
    """The matrix, with validation top-1 along its side."""
    shares = churn(history.first_answers)
    count = len(shares)
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    matrix, side = figure.subplots(1, 2, width_ratios=(5, 1), sharey=True)
    edges = (0.5, count + 0.5)
    # Not aspect="equal": it would tear the rows from the bars beside them.
    picture = matrix.imshow(
        shares,
        cmap="cividis",
        vmin=0,
        vmax=shares.max() or 1,
        extent=(*edges, *reversed(edges)),
        aspect="auto",
        interpolation="nearest",
    )
    if count <= MOST_WITH_NUMBERS:
        _write_numbers(matrix, shares)
    figure.colorbar(
        picture,
        ax=matrix,
        location="bottom",
        shrink=0.6,
        label="first answers that differ",
        format=PercentFormatter(1.0),
    )
    matrix.set(title="Answers that change between epochs", xlabel="epoch")
    matrix.set(ylabel="epoch")

    def name_tick(value: float, _: int) -> str:
        # Ticks beside the first and last epoch have no name.
        return f"{value:.0f}" if 1 <= value <= count else ""

    bins = MOST_WITH_NUMBERS if count <= MOST_WITH_NUMBERS else 10
    for axis in (matrix.xaxis, matrix.yaxis):
        axis.set_major_locator(MaxNLocator(bins, integer=True, min_n_ticks=1))
        axis.set_major_formatter(FuncFormatter(name_tick))
    _draw_accuracies(side, history)
    return figure


def _write_numbers(axes: Any, shares: NDArray[np.float64]) -> None:
    size = 9 if len(shares) <= 16 else 7
    for row, column in np.ndindex(shares.shape):
        share = shares[row, column]
        dark = share < 0.55 * shares.max()
        axes.text(
            column + 1,
            row + 1,
            "" if row == column else f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else "black",
            in_layout=False,
        )


def _draw_accuracies(axes: Any, history: History) -> None:
    epochs = [record.epoch for record in history.epochs]
    accuracies = [record.val.top1_accuracy for record in history.epochs]
    best = history.best.epoch
    colors = [ORANGE if epoch == best else BLUE for epoch in epochs]
    few = len(epochs) <= MOST_WITH_NUMBERS
    axes.barh(epochs, accuracies, height=0.85 if few else 1.0, color=colors)
    if few:
        for epoch, accuracy in zip(epochs, accuracies, strict=True):
            axes.text(accuracy, epoch, f" {accuracy:.1%}", va="center", fontsize=8)
    # Room for the numbers beside the longest bar.
    axes.set(title="top-1", xlim=(0, max(accuracies) * 1.6 or 1))
    axes.set_xlabel(f"best: epoch {best}", color=ORANGE)
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.tick_params(left=False, labelleft=False)
    tidy(axes, grid="x")

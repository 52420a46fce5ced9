"""How many answers change from each epoch to each other one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from classifier.ranking import IntArray
from training.history import History
from training.picture_style import BLUE, ORANGE, WIDTH, tidy

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
    bins = MOST_WITH_NUMBERS if count <= MOST_WITH_NUMBERS else 10
    for axis in (matrix.xaxis, matrix.yaxis):
        axis.set_major_locator(MaxNLocator(bins, integer=True, min_n_ticks=1))
        axis.set_major_formatter(FuncFormatter(_whole_epoch(count)))
    _draw_accuracies(side, history)
    return figure


def _whole_epoch(count: int) -> Any:
    """Ticks beside the first and last epoch stay unnamed."""
    return lambda value, _: f"{value:.0f}" if 1 <= value <= count else ""


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

"""Which classes a network knows, and which it takes for each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from classifier.labels import Labels
from training.class_tables import ClassResult, ConfusedPair
from training.picture_style import (
    BLUE,
    GREY,
    LIGHT_BLUE,
    ORANGE,
    WIDTH,
    shortened,
    tidy,
)

MOST_NAMED = 30
"""Classes up to which each has a bar with its name."""

NAMED_ENDS = 10
"""Of more classes, so many of the worst and of the best are named."""

PAIRS_SHOWN = 20


def per_class_figure(
    results: Sequence[ClassResult], labels: Labels, *, epoch: int
) -> Figure:
    """Top-1 accuracy per class, sorted; all are named if they are few."""
    ordered = sorted(results, key=lambda result: -result.top1_accuracy)
    title = f"Top-1 accuracy per class after epoch {epoch}, {_images_text(results)}"
    if len(ordered) <= MOST_NAMED:
        figure = Figure(figsize=(WIDTH, 1.6 + 0.3 * len(ordered)), layout="constrained")
        axes = figure.subplots()
        _named_bars(axes, ordered, labels, color=BLUE)
        axes.set_title(title)
        return figure
    figure = Figure(figsize=(WIDTH, 7.2), layout="constrained")
    (all_classes, worst, best) = figure.subplot_mosaic(
        [["all", "all"], ["worst", "best"]], height_ratios=(4, 5)
    ).values()
    _all_bars(all_classes, ordered)
    all_classes.set_title(title)
    _named_bars(worst, ordered[: -NAMED_ENDS - 1 : -1], labels, color=ORANGE)
    worst.set_title(f"the {NAMED_ENDS} worst")
    _named_bars(best, ordered[:NAMED_ENDS], labels, color=BLUE)
    best.set_title(f"the {NAMED_ENDS} best")
    return figure


def confused_pairs_figure(
    pairs: Sequence[ConfusedPair], labels: Labels, *, epoch: int
) -> Figure:
    """The pairs with the most images on the wrong side, either way."""
    shown = pairs[:PAIRS_SHOWN]
    figure = Figure(figsize=(WIDTH, 1.7 + 0.42 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"Classes taken for each other after epoch {epoch}")
    if not shown:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        axes.axis("off")
        return figure
    places = np.arange(len(shown))
    there = [pair.there.images for pair in shown]
    back = [pair.back.images for pair in shown]
    axes.barh(places, there, color=BLUE, height=0.75, label="upper name is the truth")
    axes.barh(
        places,
        back,
        left=there,
        color=LIGHT_BLUE,
        height=0.75,
        label="lower name is the truth",
    )
    for place, pair in enumerate(shown):
        axes.text(pair.images, place, f" {_counts_text(pair)}", va="center", fontsize=9)
    axes.set_yticks(places, [_pair_name(pair, labels) for pair in shown])
    axes.tick_params(axis="y", labelsize=8.5)
    axes.set(xlim=(0, 1.3 * shown[0].images), xlabel="images")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    tidy(axes, grid="x")
    return figure


def _pair_name(pair: ConfusedPair, labels: Labels) -> str:
    names = (labels.names[pair.there.truth], labels.names[pair.back.truth])
    return "\n".join(shortened(name, 26) for name in names)


def _counts_text(pair: ConfusedPair) -> str:
    there, back = pair.there, pair.back
    return f"{there.images} of {there.of}, {back.images} of {back.of}"


def _images_text(results: Sequence[ClassResult]) -> str:
    numbers = [result.images for result in results]
    low, high = min(numbers), max(numbers)
    return f"{low} images each" if low == high else f"{low} to {high} images each"


def _named_bars(
    axes: Any, results: Sequence[ClassResult], labels: Labels, *, color: str
) -> None:
    places = np.arange(len(results))
    accuracies = [result.top1_accuracy for result in results]
    axes.barh(places, accuracies, color=color, height=0.75)
    for place, accuracy in enumerate(accuracies):
        axes.text(accuracy, place, f" {accuracy:.0%}", va="center", fontsize=9)
    names = [shortened(labels.names[result.index], 22) for result in results]
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", labelsize=9)
    axes.set(xlim=(0, 1.12), ylim=(len(results) - 0.4, -0.6))
    axes.set_xticks((0, 0.25, 0.5, 0.75, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    tidy(axes, grid="x")


def _all_bars(axes: Any, ordered: Sequence[ClassResult]) -> None:
    accuracies = np.array([result.top1_accuracy for result in ordered])
    colors = np.full(len(ordered), GREY)
    colors[:NAMED_ENDS], colors[-NAMED_ENDS:] = BLUE, ORANGE
    axes.bar(np.arange(len(ordered)), accuracies, color=colors, width=1.0)
    mean = float(accuracies.mean())
    axes.axhline(mean, color="black", linewidth=1, linestyle="--")
    axes.text(len(ordered), mean, f"mean {mean:.0%} ", ha="right", va="bottom")
    axes.set(xlim=(-1, len(ordered)), xlabel=f"{len(ordered)} classes, best first")
    axes.set_xticks([])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    tidy(axes, grid="y")

"""Pictures of a run for `mlflow ui`: accuracy per class, confusions, hardest images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from classifier.bundle.labels import Labels
from classifier.metrics import IntArray
from training.data.decoded_images import DecodedPart
from training.evaluation.class_metrics import confusion_matrix
from training.evaluation.epoch import History
from training.reports.curve_plots import (
    BLUE,
    GREY,
    LIGHT_BLUE,
    ORANGE,
    WIDTH,
    churn_figure,
    epochs_figure,
    running_figure,
    save,
    shortened,
    tidy,
)
from training.reports.tables import (
    ClassResult,
    ConfusedPair,
    class_results,
    confused_pairs,
    write_confused_pairs,
    write_confusion_matrix,
    write_per_class,
)

MOST_NAMED = 30
"""Classes up to which each has a bar with its name."""

NAMED_ENDS = 10
"""With more classes, this many of the worst and of the best are named."""

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


def confusion_figure(confusion: IntArray, labels: Labels, *, epoch: int) -> Figure:
    """The share of each true class (a row) that is answered as each class."""
    figure = Figure(figsize=(WIDTH, WIDTH), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.6, format=PercentFormatter(1.0))
    axes.set_title(f"First answers after epoch {epoch}, as a share of the true class")
    axes.set(xlabel="answer", ylabel="truth")
    places = np.arange(len(labels) if len(labels) <= MOST_NAMED else 0)
    names = [shortened(labels.names[place], 16) for place in places]
    axes.set_xticks(places, names, rotation=90, fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    return figure


def confused_pairs_figure(
    pairs: Sequence[ConfusedPair], labels: Labels, *, epoch: int
) -> Figure:
    """Bars of the pairs of classes that are confused most, in both directions."""
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


SHOWN = 48
COLUMNS = 6

# In widths of an image: from one to the next, and the lines below each.
_STRIDE, _LINE, _ROW = 1.06, 0.15, 1.55
_STRIDE_OF_BATCH = 1.25

_LONGEST = 20
"""Characters of 7.5 points that fit below an image."""


def hardest(target_probabilities: NDArray[np.float32], *, count: int) -> IntArray:
    """Positions of the lowest probabilities [N], hardest first, equals in order."""
    return np.argsort(target_probabilities, kind="stable")[:count]


def hardest_figure(
    val: DecodedPart,
    *,
    labels: Labels,
    first_answers: IntArray,
    target_probabilities: NDArray[np.float32],
    epoch: int,
) -> Figure:
    """A sheet of the SHOWN hardest images, each with its name, truth and answer."""
    shown = hardest(target_probabilities, count=SHOWN)
    rows = -(-len(shown) // COLUMNS)
    inches_an_image = WIDTH / (COLUMNS * _STRIDE)
    height = 0.4 + rows * _ROW * inches_an_image
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for place, position in enumerate(shown):
        row, column = divmod(place, COLUMNS)
        lines = (
            (val.names[position].rsplit("/", 1)[-1], GREY),
            (labels.names[val.targets[position]], BLUE),
            (f"→ {labels.names[first_answers[position]]}", ORANGE),
        )
        left, top = column * _STRIDE, row * _ROW
        _draw_image(axes, val.images[position], lines, left=left, top=top)
    axes.set(xlim=(0, COLUMNS * _STRIDE), ylim=(rows * _ROW, 0))
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title(
        f"Images whose truth epoch {epoch} thinks least likely: name, truth, → answer",
        fontsize=11,
    )
    return figure


def draw_batch(
    folder: Path, images: NDArray[np.uint8], targets: IntArray, *, labels: Labels
) -> None:
    """Writes first_batch.png: images as a step sees them, and their classes."""
    count = min(len(images), SHOWN // 2)
    rows = -(-count // COLUMNS)
    height = 0.4 + rows * _STRIDE_OF_BATCH * WIDTH / (COLUMNS * _STRIDE)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for place in range(count):
        row, column = divmod(place, COLUMNS)
        lines = ((labels.names[targets[place]], BLUE),)
        left, top = column * _STRIDE, row * _STRIDE_OF_BATCH
        _draw_image(axes, images[place], lines, left=left, top=top)
    axes.set(xlim=(0, COLUMNS * _STRIDE), ylim=(rows * _STRIDE_OF_BATCH, 0))
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title("Images of the first batch, as the recipe changes them", fontsize=11)
    save(figure, folder / "first_batch.png")


def _draw_image(
    axes: Any,
    image: NDArray[np.uint8],
    lines: Sequence[tuple[str, str]],
    *,
    left: float,
    top: float,
) -> None:
    """Draws the image with coloured `lines` of text below it."""
    extent = (left, left + 1, top + 1, top)
    axes.imshow(image, extent=extent, interpolation="nearest")
    for place, (text, color) in enumerate(lines):
        axes.text(
            left,
            top + 1.03 + _LINE * place,
            shortened(text, _LONGEST),
            color=color,
            fontsize=7.5,
            va="top",
            in_layout=False,
        )


def draw_pictures(
    history: History, folder: Path, *, labels: Labels, val: DecodedPart
) -> None:
    """Writes seven pictures and three tables to `folder`.

    Those of classes and hardest images show the answers of the best epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    best = history.best
    place = history.epochs.index(best)
    answers = history.first_answers[place]
    results = class_results(val.targets, answers)
    pairs = confused_pairs(val.targets, answers)
    confusion = confusion_matrix(val.targets, answers, classes=len(labels))
    write_confusion_matrix(folder / "confusion_matrix.csv", confusion, labels)
    write_per_class(folder / "per_class.csv", results, labels)
    write_confused_pairs(folder / "confused_pairs.csv", pairs, labels)
    figures = {
        "epochs": epochs_figure(history, has_top5=len(labels) > 5),
        "running": running_figure(history.epochs, has_top5=len(labels) > 5),
        "churn": churn_figure(history),
        "per_class": per_class_figure(results, labels, epoch=best.epoch),
        "confusion_matrix": confusion_figure(confusion, labels, epoch=best.epoch),
        "confused_pairs": confused_pairs_figure(pairs, labels, epoch=best.epoch),
        "hardest_images": hardest_figure(
            val,
            labels=labels,
            first_answers=answers,
            target_probabilities=history.target_probabilities[place],
            epoch=best.epoch,
        ),
    }
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")

"""Tables of a run: accuracy per class, confused pairs of classes, layers."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchinfo
from torchinfo.layer_info import LayerInfo

from classifier.bundle.labels import Labels
from classifier.bundle.preprocessing import Preprocessing
from classifier.console.text import csv_row
from classifier.metrics import IntArray
from classifier.networks.image_classifier import ImageClassifier


@dataclass(frozen=True)
class ClassResult:
    """Numbers of a class's validation images, and of first answers that name it."""

    index: int
    images: int
    right: int
    answered: int = 0

    @property
    def top1_accuracy(self) -> float:
        """Also the class's recall."""
        return self.right / self.images

    @property
    def precision(self) -> float | None:
        """None if no answer names the class."""
        return self.right / self.answered if self.answered else None

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.images + self.answered)


@dataclass(frozen=True, kw_only=True)
class ConfusionCount:
    """Number of images of class `truth` whose top-1 answer is class `answer`."""

    truth: int
    answer: int
    images: int
    of: int
    """Images of the true class."""


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes and their confusions, the more frequent one first."""

    there: ConfusionCount
    back: ConfusionCount

    @property
    def images(self) -> int:
        return self.there.images + self.back.images


def class_results(targets: IntArray, first_answers: IntArray) -> list[ClassResult]:
    """Results of the classes that have images, by index; both arrays are [N]."""
    return [
        ClassResult(
            int(index),
            images=int(members.sum()),
            right=int((first_answers[members] == index).sum()),
            answered=int((first_answers == index).sum()),
        )
        for index in np.unique(targets)
        for members in [targets == index]
    ]


def confused_pairs(targets: IntArray, first_answers: IntArray) -> list[ConfusedPair]:
    """All pairs with a confusion either way, the most images first, then by index."""
    wrong = targets != first_answers
    pairs = np.stack((targets[wrong], first_answers[wrong]), axis=1)  # [M, 2]
    directions, numbers = np.unique(pairs, axis=0, return_counts=True)
    counts = {
        (int(truth), int(answer)): int(number)
        for (truth, answer), number in zip(directions, numbers, strict=True)
    }
    classes, class_images = np.unique(targets, return_counts=True)
    of = dict(zip(classes.tolist(), class_images.tolist(), strict=True))

    def confusion(truth: int, answer: int) -> ConfusionCount:
        return ConfusionCount(
            truth=truth,
            answer=answer,
            images=counts.get((truth, answer), 0),
            of=of.get(truth, 0),
        )

    found = []
    for low, high in sorted({(min(pair), max(pair)) for pair in counts}):
        there, back = confusion(low, high), confusion(high, low)
        if back.images > there.images:
            there, back = back, there
        found.append(ConfusedPair(there, back))
    return sorted(found, key=lambda pair: -pair.images)


def write_per_class(path: Path, results: Sequence[ClassResult], labels: Labels) -> None:
    _write(
        path,
        (
            *("index", "id", "name", "images", "right", "top1_accuracy"),
            *("answered", "precision", "recall", "f1"),
        ),
        (
            (
                result.index,
                labels.ids[result.index],
                labels.names[result.index],
                result.images,
                result.right,
                f"{result.top1_accuracy:.4f}",
                result.answered,
                "" if result.precision is None else f"{result.precision:.4f}",
                f"{result.top1_accuracy:.4f}",
                f"{result.f1:.4f}",
            )
            for result in results
        ),
    )


def write_confusion_matrix(path: Path, confusion: IntArray, labels: Labels) -> None:
    """A row for each true class, a column for each first answer; numbers of images."""
    rows = zip(labels.ids, confusion.tolist(), strict=True)
    _write(path, ("truth_id", *labels.ids), ((id_, *counts) for id_, counts in rows))


def write_confused_pairs(
    path: Path, pairs: Sequence[ConfusedPair], labels: Labels
) -> None:
    """A row for each direction that has images; `both_ways` is that of the pair."""
    _write(
        path,
        ("truth_id", "truth", "answer_id", "answer", "images", "of", "both_ways"),
        (
            (
                labels.ids[direction.truth],
                labels.names[direction.truth],
                labels.ids[direction.answer],
                labels.names[direction.answer],
                direction.images,
                direction.of,
                pair.images,
            )
            for pair in pairs
            for direction in (pair.there, pair.back)
            if direction.images
        ),
    )


def _write(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[str | int]]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(map(csv_row, rows))


def layer_table(classifier: ImageClassifier, preprocessing: Preprocessing) -> str:
    """CSV: name, kind, output shape without the batch, parameters."""
    shape = (1, 3, preprocessing.height, preprocessing.width)
    # Zeros of our own: torchinfo would draw inputs, and move torch's random state.
    inputs = torch.zeros(shape, device=next(classifier.parameters()).device)
    # 100: leaves at any depth.
    summary = torchinfo.summary(
        classifier.network, input_data=inputs, depth=100, verbose=0
    )
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("name", "kind", "output_shape", "parameters"))
    for layer in summary.summary_list:
        if layer.is_leaf_layer:
            size = " x ".join(map(str, layer.output_size[1:]))
            row = (_path_of(layer), layer.class_name, size, layer.num_params)
            writer.writerow(csv_row(row))
    kind = type(classifier.network).__name__
    writer.writerow(csv_row(("total", kind, "", summary.total_params)))
    return table.getvalue()


def _path_of(layer: LayerInfo) -> str:
    """The layer's name in the network: `layer1.0.conv1`."""
    parent = layer.parent_info
    if parent is None or parent.depth == 0:
        return layer.var_name
    return f"{_path_of(parent)}.{layer.var_name}"

"""How each class fares, and which classes are taken for each other, as tables."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from classifier.bundle.labels import Labels
from classifier.bundle.preprocessing import Preprocessing
from classifier.console import csv_row
from classifier.metrics import IntArray
from classifier.networks import ImageClassifier


@dataclass(frozen=True)
class ClassResult:
    """How many of a class's validation images are answered rightly."""

    index: int
    images: int
    right: int

    @property
    def top1_accuracy(self) -> float:
        return self.right / self.images


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How many images of one class are taken for another."""

    truth: int
    answer: int
    images: int
    of: int
    """Images of the true class."""


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes and their confusions, the more frequent one first."""

    there: Confusion
    back: Confusion

    @property
    def images(self) -> int:
        return self.there.images + self.back.images


def class_results(targets: IntArray, first_answers: IntArray) -> list[ClassResult]:
    """Of the classes that have images, by index; both arrays are [N]."""
    return [
        ClassResult(
            int(index), int(members.sum()), int((first_answers[members] == index).sum())
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

    def confusion(truth: int, answer: int) -> Confusion:
        return Confusion(
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
        ("index", "id", "name", "images", "right", "top1_accuracy"),
        (
            (
                result.index,
                labels.ids[result.index],
                labels.names[result.index],
                result.images,
                result.right,
                f"{result.top1_accuracy:.4f}",
            )
            for result in results
        ),
    )


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
    rows: list[tuple[str, str, str, int]] = []

    def note(name: str, layer: nn.Module) -> None:
        def hook(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
            shape = " x ".join(str(size) for size in output.shape[1:])
            parameters = sum(p.numel() for p in layer.parameters())
            rows.append((name, type(layer).__name__, shape, parameters))

        hooks.append(layer.register_forward_hook(hook))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name, layer in classifier.network.named_modules():
        if not any(layer.children()):
            note(name, layer)
    was_training, device = classifier.training, next(classifier.parameters()).device
    shape = (1, preprocessing.height, preprocessing.width, 3)
    with torch.inference_mode():
        classifier.eval()(torch.zeros(shape, dtype=torch.uint8, device=device))
    classifier.train(was_training)
    for handle in hooks:
        handle.remove()
    total = sum(p.numel() for p in classifier.network.parameters())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("name", "kind", "output_shape", "parameters"))
    writer.writerows(map(csv_row, rows))
    writer.writerow(("total", type(classifier.network).__name__, "", total))
    return table.getvalue()

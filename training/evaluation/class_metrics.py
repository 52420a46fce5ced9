"""Metrics over classes: precision, recall, F1, balanced accuracy, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.bundle.labels import Labels
from classifier.metrics import IntArray

Z = 1.959964
"""Normal quantile of a 95 % interval."""

FloatMatrix = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A fraction with its 95 % interval; all are None where it is 0/0."""

    value: float | None
    low: float | None
    high: float | None


NOTHING = Estimate(None, None, None)


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """How a network answers for one class."""

    index: int
    images: int
    """Images of the class."""

    answered: int
    """Images for which the class is the first answer."""

    right: int
    precision: Estimate
    """Share of `answered` that is right."""

    recall: Estimate
    """Share of `images` that is right."""

    f1: Estimate


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """Metrics of each class, and their means over the classes that have images."""

    macro_f1: Estimate
    balanced_accuracy: Estimate
    classes: tuple[ClassMetrics, ...]
    confusion: IntArray
    """Images of class i whose first answer is class j, [K, K]."""


def confusion_matrix(
    targets: IntArray, first_answers: IntArray, *, classes: int
) -> IntArray:
    """Images of class i whose first answer is class j, [K, K]."""
    flat = np.bincount(targets * classes + first_answers, minlength=classes**2)
    return flat.reshape(classes, classes).astype(np.int64)


def class_report(
    targets: IntArray, first_answers: IntArray, *, classes: int
) -> ClassReport:
    """Both arrays are class indices, [N]."""
    confusion = confusion_matrix(targets, first_answers, classes=classes)
    images, answered = confusion.sum(axis=1), confusion.sum(axis=0)
    right = np.diagonal(confusion)
    there = images > 0
    return ClassReport(
        macro_f1=_macro_f1(confusion, there / there.sum()),
        balanced_accuracy=_mean(
            [wilson(int(r), int(n)) for r, n in zip(right, images, strict=True) if n]
        ),
        classes=tuple(
            ClassMetrics(
                index=index,
                images=int(images[index]),
                answered=int(answered[index]),
                right=int(right[index]),
                precision=wilson(int(right[index]), int(answered[index])),
                recall=wilson(int(right[index]), int(images[index])),
                f1=_f1(int(right[index]), int(images[index] + answered[index])),
            )
            for index in range(classes)
        ),
        confusion=confusion,
    )


def macro_means(
    targets: IntArray, first_answers: IntArray, *, classes: int
) -> tuple[float, float]:
    """Macro-F1 and balanced accuracy of `class_report`, without the rest."""
    right = np.bincount(targets[targets == first_answers], minlength=classes)
    images = np.bincount(targets, minlength=classes)
    answered = np.bincount(first_answers, minlength=classes)
    there = images > 0
    f1 = 2 * right[there] / (images + answered)[there]
    return float(f1.mean()), float((right[there] / images[there]).mean())


def wilson(hits: int, count: int) -> Estimate:
    """A share with Wilson's interval (1927)."""
    if count == 0:
        return NOTHING
    share, scale = hits / count, 1 + Z**2 / count
    middle = (share + Z**2 / (2 * count)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def _macro_f1(confusion: IntArray, weights: FloatMatrix) -> Estimate:
    """The weighted mean of F1 over the classes.

    Its interval is that of Takahashi et al. 2022 ("Confidence interval for
    micro-averaged F1 and macro-averaged F1 scores"): the delta method, with the
    confusion matrix as one multinomial draw, as an error counts for two classes.
    """
    count = confusion.sum()
    shares = confusion / count
    both = shares.sum(axis=0) + shares.sum(axis=1)  # of truth and of answer
    both = np.where(both > 0, both, 1.0)
    right = np.diagonal(shares)
    slope = weights * 2 * right / both**2
    gradient = np.diag(weights * 2 / both) - slope[:, None] - slope[None, :]
    mean = float((shares * gradient).sum())
    variance = float((shares * gradient**2).sum()) - mean**2
    value = float(weights @ (2 * right / both))
    half = Z * math.sqrt(max(0.0, variance) / count)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def _f1(right: int, both: int) -> Estimate:
    """F1 is 2s/(1+s), where s is the share of right ones among all that have the class.

    As truth or as answer. So its interval is Wilson's of s, carried over.
    """
    share = wilson(right, both - right)
    if share.value is None or share.low is None or share.high is None:
        return NOTHING
    return Estimate(*(2 * s / (1 + s) for s in (share.value, share.low, share.high)))


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent shares, its interval recovered from theirs.

    MOVER: Zou and Donner 2008, "Construction of confidence limits about effect
    measures". So it has a width also where all shares are 0 or 1.
    """
    values, lows, highs = (
        np.array([getattr(found, name) for found in estimates])
        for name in ("value", "low", "high")
    )
    value, count = float(values.mean()), len(estimates)
    below = math.sqrt(float(((values - lows) ** 2).sum())) / count
    above = math.sqrt(float(((highs - values) ** 2).sum())) / count
    return Estimate(value, max(0.0, value - below), min(1.0, value + above))


def as_json(report: ClassReport, labels: Labels) -> dict[str, Any]:
    """The report with the classes' ids and names."""

    def estimate(found: Estimate) -> dict[str, float | None]:
        return {"value": found.value, "low": found.low, "high": found.high}

    return {
        "macro_f1": estimate(report.macro_f1),
        "balanced_accuracy": estimate(report.balanced_accuracy),
        "classes": [
            {
                "index": found.index,
                "id": labels.ids[found.index],
                "name": labels.names[found.index],
                "images": found.images,
                "answered": found.answered,
                "right": found.right,
                "precision": estimate(found.precision),
                "recall": estimate(found.recall),
                "f1": estimate(found.f1),
            }
            for found in report.classes
        ],
        "confusion_matrix": report.confusion.tolist(),
    }


MOST_PRINTED = 30
"""Classes up to which all are printed."""

ENDS = 10


def report_lines(report: ClassReport, labels: Labels) -> list[str]:
    """The means, and the classes by falling F1; of many the best and the worst."""
    ordered = sorted(
        (found for found in report.classes if found.images),
        key=lambda found: -(found.f1.value or 0.0),
    )
    rows = [_row(found, labels) for found in ordered]
    if len(rows) > MOST_PRINTED:
        more = f"… {len(rows) - 2 * ENDS:,} more, all with --out FILE.json"
        rows = [*rows[:ENDS], more, *rows[-ENDS:]]
    return [
        "",
        f"macro-F1           {_percent(report.macro_f1)}",
        f"balanced accuracy  {_percent(report.balanced_accuracy)}",
        "",
        f"{'class':24} images  {'precision':26}{'recall':26}F1",
        *rows,
    ]


def _row(found: ClassMetrics, labels: Labels) -> str:
    name = labels.names[found.index]
    name = name if len(name) <= 24 else f"{name[:23]}…"
    shares = (found.precision, found.recall, found.f1)
    texts = "".join(f"{_percent(share):26}" for share in shares).rstrip()
    return f"{name:24} {found.images:6,}  {texts}"


def _percent(found: Estimate) -> str:
    """Such as `52.10 % [50.05, 54.14]`; a dash for 0/0."""
    if found.value is None or found.low is None or found.high is None:
        return "\N{EN DASH}"
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.value:.2f} % [{low:.2f}, {high:.2f}]"

"""Calibration: expected calibration error, log loss, Brier score, reliability bins."""

from dataclasses import dataclass

import numpy as np

from classifier.metrics import CALIBRATION_BINS, calibration_bin
from compare.statistics.measure import ReliabilityBin
from compare.statistics.top_five import BoolArray, FloatArray, IntArray, TopFive

TENTHS = 10


def reliability(confidences: FloatArray, correct: BoolArray) -> list[ReliabilityBin]:
    """The 15 points of a reliability diagram, the same bins as the error's."""
    bins = calibration_bin(confidences)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    right = np.bincount(bins, weights=correct, minlength=CALIBRATION_BINS)
    sums = np.bincount(bins, weights=confidences, minlength=CALIBRATION_BINS)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1).tolist()
    return [
        ReliabilityBin(
            low=edges[i],
            high=edges[i + 1],
            images=int(count),
            accuracy=float(right[i] / count) if count else None,
            confidence=float(sums[i] / count) if count else None,
        )
        for i, count in enumerate(counts)
    ]


def tenth(confidences: FloatArray) -> IntArray:
    """The tenth (0, 0.1], (0.1, 0.2] … of each confidence, 0..9; 0 is in the first."""
    return calibration_bin(confidences, bins=TENTHS)


def confidence_table(*, baseline: FloatArray, candidate: FloatArray) -> list[list[int]]:
    """[i][j], images with the baseline's confidence in tenth i, the candidate's in j.

    Both are [N], top-1 probabilities of the same images.
    """
    cells = TENTHS * tenth(baseline) + tenth(candidate)
    counts = np.bincount(cells, minlength=TENTHS**2).reshape(TENTHS, TENTHS)
    table: list[list[int]] = counts.tolist()
    return table


LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""1.2e-7: answers are float32 with seven digits, so less is rounding. The log loss of
an image is then at most 15.9. scikit-learn clips float32 probabilities there too."""


@dataclass(frozen=True)
class Scores:
    """The probabilities of N images on which log loss and Brier score rest."""

    truth: FloatArray
    """[N], probability of the true class."""

    squares: FloatArray
    """[N], squares of all classes' probabilities, added."""


def scores(top: TopFive, targets: IntArray, *, classes: int) -> Scores:
    """Scores of answers of any length, of a version with so many classes.

    `targets` are class indices. If not all classes are listed, the rest of the
    probability is spread evenly over the others, among them the truth if it is not
    listed. The scores are exact if all are. Two ResNet-18 had log losses of 3.259 and
    4.600 over all 200 classes, and have 3.671 and 4.599 from five answers.
    """
    rest = _unlisted_probability(top, classes)
    ranks = top.ranks(targets)
    place = np.maximum(ranks - 1, 0)
    listed = top.probabilities[np.arange(len(ranks)), place]
    squares = (np.nan_to_num(top.probabilities) ** 2).sum(axis=1)
    squares += _unlisted(top, classes) * rest**2
    return Scores(truth=np.where(ranks > 0, listed, rest), squares=squares)


def log_losses(scores: Scores) -> FloatArray:
    """[N], the negative natural logarithm of the true class's probability."""
    losses: FloatArray = -np.log(np.maximum(scores.truth, LEAST_PROBABILITY))
    return losses


def brier_scores(scores: Scores) -> FloatArray:
    """[N], 0..2: squared distances of all classes' probabilities from 1 and 0, added.

    Brier, Monthly Weather Review 78:1 (1950), without the half.
    """
    distances: FloatArray = scores.squares - 2 * scores.truth + 1
    return distances


def _unlisted(top: TopFive, classes: int) -> IntArray:
    """[N], number of classes that are not listed."""
    count: IntArray = classes - (top.indices >= 0).sum(axis=1)
    return count


def _unlisted_probability(top: TopFive, classes: int) -> FloatArray:
    """[N], probability of each unlisted class: at most that of the last listed one."""
    if len(top.indices) == 0:
        return np.zeros(0)
    rest = np.maximum(1 - np.nansum(top.probabilities, axis=1), 0)
    each = rest / np.maximum(_unlisted(top, classes), 1)
    probability: FloatArray = np.minimum(each, np.nanmin(top.probabilities, axis=1))
    return probability

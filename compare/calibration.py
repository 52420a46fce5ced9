"""How far confidence is from being right."""

from dataclasses import dataclass

import numpy as np

from compare.agreement import BoolArray, FloatArray, IntArray

CALIBRATION_BINS = 15
TENTHS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence is in (low, high]; the first bin has 0 as well."""

    low: float
    high: float
    images: int
    accuracy: float | None
    confidence: float | None
    """Mean of the bin, as accuracy; None in an empty one."""


def calibration_bin(
    confidences: FloatArray, *, bins: int = CALIBRATION_BINS
) -> IntArray:
    """Which of equal bins (low, high] each confidence is in, from 0; 0 in the first."""
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.digitize(confidences, edges, right=True) - 1, 0, bins - 1)


def expected_calibration_error(
    confidences: FloatArray, correct: BoolArray, *, bins: int = CALIBRATION_BINS
) -> float | None:
    """Mean distance of confidence from accuracy over equal bins (low, high].

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3;
    confidence is the top-1 probability. None for no images.
    """
    if len(confidences) == 0:
        return None
    gaps = np.bincount(
        calibration_bin(confidences, bins=bins),
        weights=correct.astype(np.float64) - confidences,
        minlength=bins,
    )
    return float(np.abs(gaps).sum() / len(confidences))


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
    """Which of (0, 0.1], (0.1, 0.2] … each confidence is in: 0..9, 0 for 0 too."""
    return calibration_bin(confidences, bins=TENTHS)


def confidence_table(*, baseline: FloatArray, candidate: FloatArray) -> list[list[int]]:
    """[i][j]: images of which the baseline's is in tenth i, the candidate's in j.

    Both are [N], top-1 probabilities of the same images.
    """
    cells = TENTHS * tenth(baseline) + tenth(candidate)
    counts = np.bincount(cells, minlength=TENTHS**2).reshape(TENTHS, TENTHS)
    table: list[list[int]] = counts.tolist()
    return table

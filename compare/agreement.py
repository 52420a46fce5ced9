"""What two versions' answers to the same images have in common: pure arithmetic."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from compare.intervals import (
    Estimate,
    PairedTable,
    mcnemar_mid_p,
    paired_difference,
)

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TOP = 5
CALIBRATION_BINS = 15
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class TopFive:
    """A version's five likeliest classes of N images, by falling probability.

    [N, 5] each; where a version has fewer classes, index -1 and probability NaN.
    """

    indices: IntArray
    probabilities: FloatArray

    def ranks(self, targets: IntArray) -> IntArray:
        """Where the truth stands: 1..5, 0 for not among them."""
        hits = self.indices == targets[:, None]
        return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def paired_table(*, baseline: BoolArray, candidate: BoolArray) -> PairedTable:
    """From two arrays [N] of whether each version is right."""
    return PairedTable(
        both_right=int((baseline & candidate).sum()),
        broken=int((baseline & ~candidate).sum()),
        fixed=int((~baseline & candidate).sum()),
        both_wrong=int((~baseline & ~candidate).sum()),
    )


def rank_transitions(*, baseline: IntArray, candidate: IntArray) -> list[list[int]]:
    """[i][j]: images whose truth is the baseline's (i+1)-th, the candidate's (j+1)-th.

    Ranks as TopFive.ranks() gives them; row and column 5 are "not among the five".
    """
    table = np.zeros((TOP + 1, TOP + 1), np.int64)
    rows = np.where(baseline == 0, TOP, baseline - 1)
    columns = np.where(candidate == 0, TOP, candidate - 1)
    np.add.at(table, (rows, columns), 1)
    counts: list[list[int]] = table.tolist()
    return counts


def expected_calibration_error(
    confidences: FloatArray, correct: BoolArray
) -> float | None:
    """Mean distance of confidence from accuracy over 15 equal bins (low, high].

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3;
    confidence is the top-1 probability. None for no images.
    """
    if len(confidences) == 0:
        return None
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.clip(np.digitize(confidences, edges, right=True) - 1, 0, None)
    bins = np.minimum(bins, CALIBRATION_BINS - 1)
    gaps = np.bincount(
        bins,
        weights=correct.astype(np.float64) - confidences,
        minlength=CALIBRATION_BINS,
    )
    return float(np.abs(gaps).sum() / len(confidences))


@dataclass(frozen=True)
class ClassChange:
    """One class: how many of its images each version gets right."""

    index: int
    table: PairedTable
    delta: Estimate
    mid_p: float
    q_value: float
    """Benjamini-Hochberg over all classes that have images."""

    @property
    def is_regression(self) -> bool:
        return (
            self.table.broken > self.table.fixed
            and self.q_value <= FALSE_DISCOVERY_RATE
        )


def class_changes(
    targets: IntArray, *, baseline: BoolArray, candidate: BoolArray
) -> list[ClassChange]:
    """Of the classes that have images, by index."""
    tables = {}
    for index in np.unique(targets):
        members = targets == index
        tables[int(index)] = paired_table(
            baseline=baseline[members], candidate=candidate[members]
        )
    if not tables:
        return []
    mid_ps = [min(1.0, mcnemar_mid_p(table)) for table in tables.values()]
    # Benjamini and Hochberg, J. R. Statist. Soc. B 57:289 (1995).
    q_values = false_discovery_control(mid_ps, method="bh")
    return [
        ClassChange(index, table, paired_difference(table), mid_p, float(q_value))
        for (index, table), mid_p, q_value in zip(
            tables.items(), mid_ps, q_values, strict=True
        )
    ]

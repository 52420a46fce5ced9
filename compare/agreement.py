"""Two versions' first answers and their being right: pure arithmetic."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.inter_rater import cohens_kappa

from compare.intervals import PairedTable

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TOP = 5


@dataclass(frozen=True)
class TopFive:
    """A version's five likeliest classes of N images, by falling probability.

    [N, 5] each; where a version has fewer classes, index -1 and probability NaN.
    """

    indices: IntArray
    probabilities: FloatArray

    def ranks(self, targets: IntArray) -> IntArray:
        """Where the truth stands: 1..5, 0 for not among them or not known (-1)."""
        hits = (self.indices == targets[:, None]) & (targets >= 0)[:, None]
        return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)


def paired_table(*, baseline: BoolArray, candidate: BoolArray) -> PairedTable:
    """From two arrays [N] of whether each version is right."""
    return PairedTable(
        both_right=int((baseline & candidate).sum()),
        broken=int((baseline & ~candidate).sum()),
        fixed=int((~baseline & candidate).sum()),
        both_wrong=int((~baseline & ~candidate).sum()),
    )


def agreement_kappa(*, baseline: IntArray, candidate: IntArray) -> float | None:
    """Cohen's kappa of two versions' first answers, class indices [N]; -1..1.

    Educ. Psychol. Meas. 20:37 (1960). None for no images, and where both always give
    one and the same answer, which chance would agree on as well.
    """
    # Only the classes that were answered: the table stays small.
    answered, codes = np.unique(np.stack([baseline, candidate]), return_inverse=True)
    if len(answered) < 2:
        return None
    size = len(answered)
    rows, columns = codes.reshape(2, -1)
    table = np.bincount(rows * size + columns, minlength=size**2).reshape(size, size)
    return float(cohens_kappa(table, return_results=False))

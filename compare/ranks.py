"""Where the truth stands among five answers, and whether it moved."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2
from statsmodels.stats.contingency_tables import SquareTable

from compare.agreement import TOP, FloatArray, IntArray


@dataclass(frozen=True)
class Symmetry:
    """A test of whether moves up are as frequent as moves down; all None without any.

    Bowker, J. Am. Stat. Assoc. 43:572 (1948). Pairs of cells that are both empty count
    for nothing, neither in the statistic nor in the degrees of freedom.
    """

    statistic: float | None
    degrees_of_freedom: int | None
    p: float | None


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


def rank_symmetry(transitions: list[list[int]]) -> Symmetry:
    table = np.array(transitions, np.float64)
    moves = (table + table.T)[np.triu_indices(len(table), 1)]
    pairs = int((moves > 0).sum())
    if pairs == 0:
        return Symmetry(None, None, None)
    # Its own degrees of freedom count the empty pairs too.
    statistic = float(SquareTable(table, shift_zeros=False).symmetry().statistic)
    return Symmetry(statistic, pairs, float(chi2.sf(statistic, pairs)))


def reciprocal_ranks(ranks: IntArray) -> FloatArray:
    """[N], 1 for the first answer down to 1/5 for the fifth; 0 beyond."""
    reciprocals: FloatArray = np.divide(
        1.0, ranks, out=np.zeros(len(ranks)), where=ranks > 0
    )
    return reciprocals


def mean_reciprocal_rank(ranks: IntArray) -> float | None:
    """Voorhees, TREC-8 question answering track (1999), cut at five answers."""
    return float(reciprocal_ranks(ranks).mean()) if len(ranks) else None

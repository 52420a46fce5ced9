"""Statistics of two versions' lists of five answers: ranks, agreement, overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr
from scipy.stats import chi2
from statsmodels.stats.contingency_tables import SquareTable
from statsmodels.stats.inter_rater import cohens_kappa

from classifier.metrics import rank_of_target
from compare.statistics.measure import Symmetry
from compare.statistics.paired import PairedTable

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TOP = 5


@dataclass(frozen=True)
class TopFive:
    """A version's five likeliest classes of N images, by falling probability.

    [N, 5] each; index -1 and probability NaN where an answer has fewer. `Scores` are
    made of longer ones, [N, k].
    """

    indices: IntArray
    probabilities: FloatArray

    def ranks(self, targets: IntArray) -> IntArray:
        """Place of the truth, [N], 1..5; 0 if it is not listed or not known (-1)."""
        return np.where(targets < 0, 0, rank_of_target(self.indices, targets))


def paired_table(*, baseline: BoolArray, candidate: BoolArray) -> PairedTable:
    """The 2x2 table of two arrays [N]: is the version right?"""
    return PairedTable(
        both_right=int((baseline & candidate).sum()),
        broken=int((baseline & ~candidate).sum()),
        fixed=int((~baseline & candidate).sum()),
        both_wrong=int((~baseline & ~candidate).sum()),
    )


def agreement_kappa(*, baseline: IntArray, candidate: IntArray) -> float | None:
    """Cohen's kappa of two versions' first answers, class indices [N]; -1..1.

    Educ. Psychol. Meas. 20:37 (1960). None for no images, and if both always give the
    same one answer, on which chance would agree as well.
    """
    # Only classes that occur as answers: the table stays small.
    answered, codes = np.unique(np.stack([baseline, candidate]), return_inverse=True)
    if len(answered) < 2:
        return None
    size = len(answered)
    rows, columns = codes.reshape(2, -1)
    table = np.bincount(rows * size + columns, minlength=size**2).reshape(size, size)
    return float(cohens_kappa(table, return_results=False))


def rank_transitions(*, baseline: IntArray, candidate: IntArray) -> list[list[int]]:
    """[i][j], images whose truth is the baseline's (i+1)-th, the candidate's (j+1)-th.

    The arguments are from TopFive.ranks(); row and column 5 are "not among the five".
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
        return Symmetry()
    # statsmodels' degrees of freedom count the empty pairs too.
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


PERSISTENCE = 0.8
"""Puts 86 % of the weight on the first five places (Webber et al., equation 21)."""


def shared_share(a: TopFive, b: TopFive) -> FloatArray:
    """[N], 0..1, the share of answers that are in both lists, in any order.

    Of five answers, or of as many as both always have.
    """
    depth = _depth(a, b)
    same = _same(a, b)[:, :depth, :depth]
    shares: FloatArray = same.sum(axis=(1, 2)) / depth
    return shares


def rank_biased_overlap(
    a: TopFive, b: TopFive, *, persistence: float = PERSISTENCE
) -> FloatArray:
    """[N], 0..1, mean overlap over all depths; the first places have most weight.

    RBO_ext of Webber, Moffat and Zobel, ACM Trans. Inf. Syst. 28:20 (2010), equation
    30 for lists of one length. The part beyond the lists is assumed to overlap like the
    last depth, so equal lists give 1.
    """
    same, depth, p = _same(a, b), _depth(a, b), persistence
    at_depth = [
        same[:, :d, :d].sum(axis=(1, 2)) / d  # [N]
        for d in range(1, depth + 1)
    ]
    weighted = sum(
        (overlap * p**d for d, overlap in enumerate(at_depth, start=1)),
        start=np.zeros(len(same)),
    )
    extended: FloatArray = at_depth[-1] * p**depth + (1 - p) / p * weighted
    return extended


def jensen_shannon_lower_bound(a: TopFive, b: TopFive) -> FloatArray:
    """[N], 0..1 bits, a lower bound of the divergence of the two distributions.

    It is the divergence over the classes in both lists and one rest. Merging classes
    never makes a divergence larger (data processing inequality); Lin, IEEE Trans. Inf.
    Theory 37:145 (1991). scipy's jensenshannon is not used: it gives NaN if rounding
    makes its sum negative.
    """
    same = _same(a, b)
    in_both = same.any(axis=2)
    matched = np.where(same, np.nan_to_num(b.probabilities)[:, None, :], 0.0)
    p = _with_rest(np.where(in_both, np.nan_to_num(a.probabilities), 0.0))
    q = _with_rest(matched.sum(axis=2))
    middle = (p + q) / 2
    nats = (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=1) / 2
    bits: FloatArray = np.clip(nats / np.log(2), 0.0, 1.0)
    return bits


def _depth(a: TopFive, b: TopFive) -> int:
    """Five, or the length of the shortest answer."""
    lengths = [(top.indices >= 0).sum(axis=1) for top in (a, b)]
    return int(min(map(np.min, lengths))) if len(a.indices) else TOP


def _same(a: TopFive, b: TopFive) -> BoolArray:
    """[N, i, j]: is a's i-th answer b's j-th?"""
    pairs: BoolArray = a.indices[:, :, None] == b.indices[:, None, :]
    return pairs & (a.indices >= 0)[:, :, None]


def _with_rest(probabilities: FloatArray) -> FloatArray:
    """[N, 5] -> [N, 6], rows sum to 1."""
    rest = np.clip(1 - probabilities.sum(axis=1, keepdims=True), 0.0, None)
    whole = np.hstack([probabilities, rest])
    rows: FloatArray = whole / whole.sum(axis=1, keepdims=True)
    return rows

"""How much two lists of five answers have in common; needs no truth."""

import numpy as np
from scipy.special import rel_entr

from compare.agreement import TOP, BoolArray, FloatArray, TopFive

PERSISTENCE = 0.8
"""Puts 86 % of the weight on the first five places (Webber et al., equation 21)."""


def shared_share(a: TopFive, b: TopFive) -> FloatArray:
    """[N], 0..1: how many of the answers are in both lists, whatever their order.

    Of five, or of as many as there are classes.
    """
    depth = _depth(a)
    shares: FloatArray = _same(a, b).sum(axis=(1, 2)) / depth
    return shares


def rank_biased_overlap(
    a: TopFive, b: TopFive, *, persistence: float = PERSISTENCE
) -> FloatArray:
    """[N], 0..1: overlap at each depth, the first places weighing most.

    RBO_ext of Webber, Moffat and Zobel, ACM Trans. Inf. Syst. 28:20 (2010), equation
    30 for lists of one length: what is beyond them is taken to overlap as the last
    depth does, so that equal lists give 1.
    """
    same, depth, p = _same(a, b), _depth(a), persistence
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
    """[N], 0..1 bits: the versions' distributions differ by at least this divergence.

    Of what is known of both: the classes in both lists, and one rest of all others. A
    coarser view never makes a divergence larger (data processing inequality); Lin, IEEE
    Trans. Inf. Theory 37:145 (1991). Not scipy's jensenshannon: its square root of a
    sum that rounding took below 0 is NaN.
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


def _depth(top: TopFive) -> int:
    """Five, or the number of classes if that is less."""
    return int((top.indices[0] >= 0).sum()) if len(top.indices) else TOP


def _same(a: TopFive, b: TopFive) -> BoolArray:
    """[N, i, j]: a's i-th answer is b's j-th."""
    pairs: BoolArray = a.indices[:, :, None] == b.indices[:, None, :]
    return pairs & (a.indices >= 0)[:, :, None]


def _with_rest(probabilities: FloatArray) -> FloatArray:
    """[N, 5] -> [N, 6], rows sum to 1."""
    rest = np.clip(1 - probabilities.sum(axis=1, keepdims=True), 0.0, None)
    whole = np.hstack([probabilities, rest])
    rows: FloatArray = whole / whole.sum(axis=1, keepdims=True)
    return rows

"""Orders images by how much a reader learns from looking at them."""

import numpy as np

from compare.results.comparison import Comparison
from compare.statistics.top_five import FloatArray, IntArray, TopFive

CONFIDENT = 0.5
"""More probable than all other classes together."""

LISTED = 20


def suspect_rows(comparison: Comparison) -> IntArray:
    """Rows of images whose label may be the mistake, at most 20.

    Both versions give the same answer, confidently, and it is not the label. The surest
    come first, by the less confident version; equals keep their order. The idea of
    Northcutt et al., "Confident Learning", JAIR 70:1373 (2021), for two versions and
    five answers.
    """
    surest = np.minimum(
        comparison.a.probabilities[:, 0], comparison.b.probabilities[:, 0]
    )
    suspect = ~comparison.disagrees & (comparison.a_ranks != 1) & (surest > CONFIDENT)
    rows = np.flatnonzero(suspect)
    return rows[np.argsort(-surest[rows], kind="stable")][:LISTED]


CATEGORIES = (
    "broken",
    "fixed",
    "both_wrong_different",
    "both_wrong_same",
    "both_right",
)


def showing_order(comparison: Comparison) -> IntArray:
    """Rows of the comparison, [N], the most informative first.

    The groups in order: label suspects, broken, fixed, truth lost from or gained among
    the five, other disagreements, other moves of the truth, the rest. Without labels:
    disagreements, the rest. Within a group the largest change of confidence comes
    first; equals keep the data's order.
    """
    groups: IntArray = np.where(comparison.disagrees, 3, 5)
    if comparison.labelled:
        a, b = comparison.a_ranks, comparison.b_ranks
        groups = np.select(
            [
                (a == 1) & (b != 1),
                (a != 1) & (b == 1),
                (a == 0) != (b == 0),
                comparison.disagrees,
                a != b,
            ],
            [0, 1, 2, 3, 4],
            5,
        )
        groups[suspect_rows(comparison)] = -1
    change = np.abs(_first(comparison.b) - _first(comparison.a))
    order: IntArray = np.lexsort((-change, groups))
    return order


def _first(top: TopFive) -> FloatArray:
    """Probability of the first answer, [N]."""
    first: FloatArray = np.nan_to_num(top.probabilities[:, 0])
    return first

"""Which images of a comparison are worth a look first."""

import numpy as np

from compare.agreement import FloatArray, IntArray, TopFive
from compare.comparison import Comparison
from compare.label_suspects import label_suspects

CATEGORIES = (
    "broken",
    "fixed",
    "both_wrong_different",
    "both_wrong_same",
    "both_right",
)


def showing_order(comparison: Comparison) -> IntArray:
    """Rows of the comparison, [N], the most telling first.

    Label suspects, which only a look can judge; broken, fixed, truth lost from or
    gained among the five, other disagreements, other moves of the truth, the rest;
    within each the largest change of confidence first, equals in the data's order.
    Without labels: disagreements, then the rest.
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
        groups[[suspect.row for suspect in label_suspects(comparison)]] = -1
    change = np.abs(_first(comparison.b) - _first(comparison.a))
    order: IntArray = np.lexsort((-change, groups))
    return order


def _first(top: TopFive) -> FloatArray:
    """The probability of the first answer, [N]."""
    first: FloatArray = np.nan_to_num(top.probabilities[:, 0])
    return first

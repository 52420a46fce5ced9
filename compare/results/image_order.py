"""Which images of a comparison are worth a look first."""

from dataclasses import dataclass

import numpy as np

from compare.results.comparison import Comparison
from compare.statistics.top_five import FloatArray, IntArray, TopFive

CONFIDENT = 0.5
"""More probable than all other classes together."""

LISTED = 20


@dataclass(frozen=True)
class LabelSuspect:
    """An image of which both versions confidently say the same, and not its label."""

    row: int
    answer: int
    a_probability: float
    b_probability: float


def label_suspects(comparison: Comparison) -> list[LabelSuspect]:
    """At most 20: the surest first, by the less confident version; equals in order.

    The idea of Northcutt et al., "Confident Learning", JAIR 70:1373 (2021), for two
    versions and five answers.
    """
    a, b = comparison.a, comparison.b
    surest = np.minimum(a.probabilities[:, 0], b.probabilities[:, 0])
    suspect = ~comparison.disagrees & (comparison.a_ranks != 1) & (surest > CONFIDENT)
    rows = np.flatnonzero(suspect)
    rows = rows[np.argsort(-surest[rows], kind="stable")][:LISTED]
    return [
        LabelSuspect(
            row=int(row),
            answer=int(a.indices[row, 0]),
            a_probability=float(a.probabilities[row, 0]),
            b_probability=float(b.probabilities[row, 0]),
        )
        for row in rows
    ]


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

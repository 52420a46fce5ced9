"""Images whose label, rather than both versions, may be wrong."""

from dataclasses import dataclass

import numpy as np

from compare.comparison import Comparison

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

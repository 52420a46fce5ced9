"""Which wrong answers a candidate gives more often, and which less."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compare.agreement import IntArray

LISTED = 20


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are taken for another: how many in each version."""

    target: int
    answer: int
    baseline: int
    candidate: int


def confusion_changes(
    targets: IntArray, *, baseline: IntArray, candidate: IntArray, classes: int
) -> tuple[Sequence[Confusion], Sequence[Confusion]]:
    """Gained and lost, at most 20 each: the largest change first, equals by indices.

    All arrays are class indices of shape [N]; the two versions' are first answers.
    """
    both = [_counts(targets, answers, classes) for answers in (baseline, candidate)]
    confusions = [
        Confusion(*divmod(code, classes), both[0].get(code, 0), both[1].get(code, 0))
        for code in sorted({*both[0], *both[1]})
    ]
    by_change = sorted(confusions, key=lambda c: -abs(c.candidate - c.baseline))
    gained = [c for c in by_change if c.candidate > c.baseline]
    lost = [c for c in by_change if c.candidate < c.baseline]
    return gained[:LISTED], lost[:LISTED]


def _counts(targets: IntArray, answers: IntArray, classes: int) -> dict[int, int]:
    """Images by target * classes + answer, where the answer is wrong."""
    wrong = answers != targets
    codes, counts = np.unique(
        targets[wrong] * classes + answers[wrong], return_counts=True
    )
    return dict(zip(codes.tolist(), counts.tolist(), strict=True))

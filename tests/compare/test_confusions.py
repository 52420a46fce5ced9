"""Wrong answers that become more or fewer."""

import numpy as np
from sklearn.metrics import confusion_matrix

from compare.confusions import Confusion, confusion_changes


def test_changes_are_those_of_scikit_learns_matrices() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 300)
    baseline, candidate = rng.integers(0, 4, (2, 300))

    gained, lost = confusion_changes(
        targets, baseline=baseline, candidate=candidate, classes=4
    )

    before, after = (
        confusion_matrix(targets, answers, labels=range(4))
        for answers in (baseline, candidate)
    )
    found = {(c.target, c.answer): (c.baseline, c.candidate) for c in (*gained, *lost)}
    assert found == {
        (target, answer): (before[target, answer], after[target, answer])
        for target in range(4)
        for answer in range(4)
        if target != answer and before[target, answer] != after[target, answer]
    }
    assert all(c.candidate > c.baseline for c in gained)
    assert all(c.candidate < c.baseline for c in lost)


def test_the_largest_change_comes_first_and_equals_by_index() -> None:
    targets = np.array([2, 2, 1, 0, 0, 0])
    baseline = np.array([2, 2, 1, 0, 0, 0])
    candidate = np.array([0, 1, 0, 1, 1, 2])

    gained, lost = confusion_changes(
        targets, baseline=baseline, candidate=candidate, classes=3
    )

    assert list(gained) == [
        Confusion(0, 1, 0, 2),
        Confusion(0, 2, 0, 1),
        Confusion(1, 0, 0, 1),
        Confusion(2, 0, 0, 1),
        Confusion(2, 1, 0, 1),
    ]
    assert list(lost) == []


def test_at_most_twenty_are_listed() -> None:
    targets = np.zeros(100, int)
    answers = np.arange(100) % 50

    gained, lost = confusion_changes(
        targets, baseline=targets, candidate=answers, classes=50
    )

    assert len(gained) == 20
    assert confusion_changes(
        targets, baseline=answers, candidate=answers, classes=50
    ) == ([], [])
    assert lost == []

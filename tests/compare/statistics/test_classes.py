"""Classes beyond chance."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from sklearn.metrics import confusion_matrix
from statsmodels.stats.multitest import multipletests

from compare.statistics.classes import (
    FALSE_DISCOVERY_RATE,
    Confusion,
    class_changes,
    confusion_changes,
    could_be_flagged,
)
from compare.statistics.paired import PairedTable, mcnemar_mid_p


def test_a_class_that_got_worse_beyond_chance_is_a_regression() -> None:
    targets = np.repeat([0, 1, 2, 5], 50)
    baseline = np.ones(200, bool)
    candidate = np.ones(200, bool)
    candidate[:20] = False  # class 0 loses 20 of 50
    candidate[50:52] = False  # class 1 loses 2
    baseline[100:120] = False  # class 2 gains 20

    changes = class_changes(targets, baseline=baseline, candidate=candidate)

    assert [change.index for change in changes] == [0, 1, 2, 5]
    assert [change.is_regression for change in changes] == [True, False, False, False]
    assert changes[0].delta.value == -0.4
    mid_ps = [mcnemar_mid_p(change.table) for change in changes]
    assert [c.q_value for c in changes] == pytest.approx(
        false_discovery_control(mid_ps, method="bh").tolist()
    )


def test_no_images_have_no_classes() -> None:
    nothing = np.array([], bool)

    assert class_changes(np.array([], int), baseline=nothing, candidate=nothing) == []


@pytest.mark.parametrize(
    ("discordant", "flagged_together", "could"),
    [
        # of 200 classes, one alone needs 0:12 ...
        (11, 0, False),
        (12, 0, True),
        # ... and 0:9 where ten in all survive together
        (8, 9, False),
        (9, 9, True),
    ],
)
def test_a_class_could_be_flagged_with_enough_discordant_images(
    discordant: int, flagged_together: int, could: bool
) -> None:
    # an even split, which is far from being flagged
    mine = PairedTable(30, discordant // 2, discordant - discordant // 2, 9)
    strong = [PairedTable(30, 20, 0, 0)] * flagged_together
    quiet = [PairedTable(25, 0, 0, 25)] * (199 - flagged_together)
    tables = [mine, *strong, *quiet]

    flags = could_be_flagged(tables, [mcnemar_mid_p(table) for table in tables])

    assert flags[0] is could
    assert all(flags[1 : 1 + flagged_together])
    assert not any(flags[1 + flagged_together :])


def test_a_flagged_class_could_be_flagged() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(20), 50)
    baseline = rng.uniform(size=1_000) < 0.5
    candidate = np.where(targets < 3, True, baseline)

    changes = class_changes(targets, baseline=baseline, candidate=candidate)

    assert [change.index for change in changes if change.is_improvement] == [0, 1, 2]
    assert not any(change.is_regression for change in changes)
    assert [change.could_be_flagged for change in changes] == [True] * 3 + [False] * 17


def test_q_values_are_statsmodels() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 30, 2_000)
    baseline, candidate = rng.uniform(size=(2, 2_000)) < 0.6

    changes = class_changes(targets, baseline=baseline, candidate=candidate)

    _, q_values, *_ = multipletests([c.mid_p for c in changes], method="fdr_bh")
    assert [change.q_value for change in changes] == pytest.approx(q_values.tolist())


def test_q_values_of_the_paper_reject_its_four_hypotheses() -> None:
    # Benjamini and Hochberg, J. R. Statist. Soc. B 57:289 (1995), section 4.1, in
    # scipy's documentation too: the fourth of 15 has q = 0.035625, the fifth 0.0603
    ps = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    ps += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]

    q_values = false_discovery_control(ps, method="bh")

    assert q_values[3:5] == pytest.approx([0.035625, 0.0603])
    assert (q_values <= FALSE_DISCOVERY_RATE).sum() == 4


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

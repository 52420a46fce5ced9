"""Arithmetic over answers: tables, ranks, calibration, classes."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from compare.agreement import (
    TopFive,
    class_changes,
    expected_calibration_error,
    paired_table,
    rank_transitions,
)
from compare.intervals import mcnemar_mid_p


def test_ranks_count_from_one_and_zero_is_not_among_the_five() -> None:
    top = TopFive(np.array([[3, 1, 0, 2, 4], [0, 1, 2, 3, 4]]), np.zeros((2, 5)))

    assert top.ranks(np.array([1, 9])).tolist() == [2, 0]


def test_the_table_names_flips_from_the_baselines_side() -> None:
    baseline = np.array([True, True, True, False, False, False])
    candidate = np.array([True, False, False, True, False, False])

    table = paired_table(baseline=baseline, candidate=candidate)

    assert (table.both_right, table.broken, table.fixed, table.both_wrong) == (
        1,
        2,
        1,
        2,
    )
    assert table.images == 6


def test_rank_transitions_have_the_baseline_in_rows() -> None:
    table = rank_transitions(
        baseline=np.array([1, 1, 0, 5]), candidate=np.array([2, 1, 1, 0])
    )

    assert table[0][:2] == [1, 1]
    assert table[5][0] == 1
    assert table[4][5] == 1
    assert sum(map(sum, table)) == 4


def test_calibration_error_is_the_hand_computed_one() -> None:
    confidences = np.array([0.05, 0.35, 0.35, 0.95, 1.0])
    correct = np.array([False, True, False, True, True])

    # bins of 1/15: {0.05}, {0.35, 0.35}, {0.95, 1.0}
    expected = (0.05 + abs(1 - 0.70) + abs(2 - 1.95)) / 5

    assert expected_calibration_error(confidences, correct) == pytest.approx(expected)


def test_the_upper_edge_belongs_to_a_bin() -> None:
    # 1/15 is in (0, 1/15], with 0.01; in [1/15, 2/15) it would stand alone
    confidences = np.array([1 / 15, 0.01])
    correct = np.array([True, False])

    error = expected_calibration_error(confidences, correct)

    assert error == pytest.approx(abs(1 - 1 / 15 - 0.01) / 2)


def test_calibration_agrees_with_a_plain_loop_over_bins() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0, 1, 2_000)
    correct = rng.uniform(0, 1, 2_000) < confidences**2

    expected = 0.0
    for low in range(15):
        inside = (confidences > low / 15) & (confidences <= (low + 1) / 15)
        if inside.any():
            gap = correct[inside].mean() - confidences[inside].mean()
            expected += inside.mean() * abs(gap)

    assert expected_calibration_error(confidences, correct) == pytest.approx(expected)


def test_no_images_have_no_calibration() -> None:
    assert expected_calibration_error(np.array([]), np.array([], bool)) is None


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

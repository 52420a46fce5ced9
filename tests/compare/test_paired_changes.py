"""What moves on the mean image."""

import numpy as np
import pytest

from compare.agreement import IntArray, TopFive
from compare.calibration import expected_calibration_error
from compare.paired_changes import confidence_change, paired_changes
from compare.ranks import mean_reciprocal_rank
from tests.compare.conftest import made_up_comparison


def test_the_values_are_the_differences_of_the_versions_own() -> None:
    made_up = made_up_comparison()
    a, b, targets = made_up.a, made_up.b, made_up.targets

    changes = paired_changes(targets, a, b)

    reciprocal = _rank_of(b, targets) - _rank_of(a, targets)
    assert changes.reciprocal_rank.value == pytest.approx(reciprocal)
    error = _error_of(b, targets) - _error_of(a, targets)
    assert changes.calibration_error.value == pytest.approx(error)
    confidence = b.probabilities[:, 0].mean() - a.probabilities[:, 0].mean()
    assert changes.confidence.value == pytest.approx(confidence)
    for change in (changes.reciprocal_rank, changes.calibration_error, changes.truth):
        assert change.low is not None
        assert change.value is not None
        assert change.high is not None
        assert change.low < change.value < change.high


def test_the_truths_probability_is_compared_where_both_list_it() -> None:
    made_up = made_up_comparison()
    by_hand = []
    for row, target in enumerate(made_up.targets):
        of = [
            top.probabilities[row, place]
            for top in (made_up.a, made_up.b)
            for place in range(5)
            if top.indices[row, place] == target
        ]
        if len(of) == 2:
            by_hand.append(of[1] - of[0])

    changes = paired_changes(made_up.targets, made_up.a, made_up.b)

    assert changes.truth_images == len(by_hand) < 400
    assert changes.truth.value == pytest.approx(np.mean(by_hand))


def test_a_version_against_itself_does_not_move() -> None:
    made_up = made_up_comparison()

    changes = paired_changes(made_up.targets, made_up.a, made_up.a)

    for change in (
        changes.reciprocal_rank,
        changes.calibration_error,
        changes.truth,
        changes.confidence,
    ):
        assert (change.value, change.low, change.high) == (0, 0, 0)


def test_without_the_truth_the_confidence_is_the_same() -> None:
    made_up = made_up_comparison()

    alone = confidence_change(made_up.a, made_up.b)

    whole = paired_changes(made_up.targets, made_up.a, made_up.b)
    assert alone.confidence == whole.confidence
    assert alone.truth_images is None


def test_where_no_version_lists_the_truth_its_change_does_not_exist() -> None:
    made_up = made_up_comparison(50)
    beyond = np.full(50, 99)

    changes = paired_changes(beyond, made_up.a, made_up.b)

    assert changes.truth.value is None
    assert changes.truth_images == 0
    assert changes.reciprocal_rank.value == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_divide_by_nothing(count: int) -> None:
    made_up = made_up_comparison(count)

    changes = paired_changes(made_up.targets, made_up.a, made_up.b)

    assert (changes.confidence.value is None) == (count == 0)
    assert (changes.confidence.low is None) == (count < 2)
    assert confidence_change(made_up.a, made_up.b).confidence == changes.confidence


def _rank_of(top: TopFive, targets: IntArray) -> float:
    rank = mean_reciprocal_rank(top.ranks(targets))
    assert rank is not None
    return rank


def _error_of(top: TopFive, targets: IntArray) -> float:
    error = expected_calibration_error(top.probabilities[:, 0], top.ranks(targets) == 1)
    assert error is not None
    return error

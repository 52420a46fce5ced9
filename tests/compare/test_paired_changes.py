"""What moves on the mean image."""

import numpy as np
import pytest

from compare.agreement import IntArray, TopFive
from compare.calibration import expected_calibration_error
from compare.paired_changes import confidence_change, paired_changes
from compare.ranks import mean_reciprocal_rank
from compare.scores import brier_scores, log_losses, truth_probabilities
from tests.compare.conftest import CLASSES, made_up_comparison


def test_the_values_are_the_differences_of_the_versions_own() -> None:
    made_up = made_up_comparison()
    a, b, targets = made_up.a, made_up.b, made_up.targets

    changes = paired_changes(targets, a, b, classes=CLASSES)

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


@pytest.mark.parametrize("classes", [CLASSES, 200])
def test_scores_change_by_the_difference_of_both_over_all_images(classes: int) -> None:
    made_up = made_up_comparison()
    a, b, targets = made_up.a, made_up.b, made_up.targets

    changes = paired_changes(targets, a, b, classes=classes)

    for change, score in (
        (changes.truth, truth_probabilities),
        (changes.log_loss, log_losses),
        (changes.brier_score, brier_scores),
    ):
        of_a, of_b = (score(top, targets, classes=classes) for top in (a, b))
        assert change.value == pytest.approx(of_b.mean() - of_a.mean())
    listed = (a.ranks(targets) > 0) & (b.ranks(targets) > 0)
    assert changes.truth_images == listed.sum() < 400


def test_a_candidate_that_is_only_surer_has_the_larger_log_loss() -> None:
    """The truth's probability where both list it would rise: 0.2 to 0.6 against 0.05.

    Half of the images have the truth first, half beyond the five.
    """
    indices = np.tile(np.arange(5), (200, 1))
    targets = np.repeat([0, 9], 100)
    unsure = TopFive(indices, np.tile([0.2, 0.1, 0.1, 0.1, 0.1], (200, 1)))
    sure = TopFive(indices, np.tile([0.96, 0.01, 0.01, 0.01, 0.0099], (200, 1)))

    changes = paired_changes(targets, unsure, sure, classes=10)

    of_unsure, of_sure = np.log([0.2, 0.08]).mean(), np.log([0.96, 0.00002]).mean()
    assert changes.log_loss.value == pytest.approx(of_unsure - of_sure)
    assert changes.log_loss.low is not None
    assert changes.log_loss.low > 0


def test_a_version_against_itself_does_not_move() -> None:
    made_up = made_up_comparison()

    changes = paired_changes(made_up.targets, made_up.a, made_up.a, classes=CLASSES)

    for change in (
        changes.reciprocal_rank,
        changes.calibration_error,
        changes.truth,
        changes.confidence,
        changes.log_loss,
        changes.brier_score,
    ):
        assert (change.value, change.low, change.high) == (0, 0, 0)


def test_without_the_truth_the_confidence_is_the_same() -> None:
    made_up = made_up_comparison()

    alone = confidence_change(made_up.a, made_up.b)

    whole = paired_changes(made_up.targets, made_up.a, made_up.b, classes=CLASSES)
    assert alone.confidence == whole.confidence
    assert alone.truth_images is None


def test_where_no_version_lists_the_truth_there_are_scores_all_the_same() -> None:
    made_up = made_up_comparison(50)
    beyond = np.full(50, 99)

    changes = paired_changes(beyond, made_up.a, made_up.b, classes=100)

    assert changes.truth_images == 0
    assert changes.reciprocal_rank.value == 0
    assert changes.log_loss.value is not None
    assert changes.truth.value is not None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_divide_by_nothing(count: int) -> None:
    made_up = made_up_comparison(count)

    changes = paired_changes(made_up.targets, made_up.a, made_up.b, classes=CLASSES)

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

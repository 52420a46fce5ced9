"""Confidence beside being right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from classifier.metrics import expected_calibration_error
from compare.statistics.calibration import (
    brier_scores,
    confidence_table,
    log_losses,
    reliability,
    scores,
)
from compare.statistics.top_five import FloatArray, IntArray, TopFive


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


@pytest.mark.parametrize(
    ("confidences", "correct", "bins", "published"),
    [
        # torchmetrics, documentation of BinaryCalibrationError, n_bins=2, norm="l1"
        ([0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1], 2, 0.29),
        # M. Pavlovic, "Expected Calibration Error, a step-by-step visual explanation"
        # (Towards Data Science, 2023), three bins: labels 0 1 0 0 0 1 1 0 1 against
        # confidence > 0.5
        (
            [0.22, 0.64, 0.92, 0.42, 0.51, 0.15, 0.70, 0.37, 0.83],
            [1, 1, 0, 1, 0, 0, 1, 1, 1],
            3,
            0.23778,
        ),
    ],
)
def test_calibration_error_is_the_published_one(
    confidences: list[float], correct: list[int], bins: int, published: float
) -> None:
    error = expected_calibration_error(
        np.array(confidences), np.array(correct, bool), bins=bins
    )

    assert error == pytest.approx(published, abs=5e-6)


def test_reliability_is_scikit_learns_curve_with_the_empty_bins() -> None:
    rng = np.random.default_rng(1)
    confidences = rng.uniform(0.2, 1, 3_000)
    correct = rng.uniform(size=3_000) < confidences

    points = reliability(confidences, correct)

    accuracies, means = calibration_curve(correct, confidences, n_bins=15)
    full = [point for point in points if point.images]
    assert len(points) == 15
    assert [point.accuracy for point in full] == pytest.approx(accuracies.tolist())
    assert [point.confidence for point in full] == pytest.approx(means.tolist())
    assert points[0].accuracy is None
    assert sum(point.images for point in points) == 3_000


def test_reliability_adds_up_to_the_error() -> None:
    rng = np.random.default_rng(2)
    confidences = rng.uniform(0, 1, 500)
    correct = rng.uniform(size=500) < 0.5

    total = sum(
        point.images * abs(point.accuracy - point.confidence) / 500
        for point in reliability(confidences, correct)
        if point.accuracy is not None and point.confidence is not None
    )

    assert total == pytest.approx(expected_calibration_error(confidences, correct))


@given(arrays(float, st.integers(0, 50), elements=st.floats(0, 1)), st.booleans())
def test_every_confidence_has_one_bin(confidences: FloatArray, all_right: bool) -> None:
    correct = np.full(len(confidences), all_right)

    points = reliability(confidences, correct)

    assert sum(point.images for point in points) == len(confidences)
    error = expected_calibration_error(confidences, correct)
    assert error is None if len(confidences) == 0 else 0 <= (error or 0) <= 1


def test_the_table_of_confidences_is_numpys_histogram_with_upper_edges() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 1, (2, 1_000))
    a[:3], b[:3] = (0.0, 0.3, 1.0), (0.1, 0.1, 1.0)

    table = confidence_table(baseline=a, candidate=b)

    # numpy's bins have their lower edges: of 1 - x those are the upper ones of x
    edges = np.linspace(0, 1, 11)
    mirrored, _, _ = np.histogram2d(1 - a[3:], 1 - b[3:], bins=(edges, edges))
    expected = mirrored[::-1, ::-1]
    for i, j in ((0, 0), (2, 0), (9, 9)):
        expected[i, j] += 1
    assert table == expected.tolist()


def _forecasts(classes: int, images: int = 300) -> tuple[FloatArray, IntArray]:
    """Probabilities [N, K] of a fair version, and the truth."""
    rng = np.random.default_rng(classes)
    targets = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), targets] += 2
    return softmax(logits, axis=1), targets


def _top_five(probabilities: FloatArray) -> TopFive:
    """-1 and NaN beyond the number of classes."""
    images, classes = probabilities.shape
    listed = min(5, classes)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :listed]
    indices, values = np.full((images, 5), -1), np.full((images, 5), np.nan)
    indices[:, :listed] = order
    values[:, :listed] = np.take_along_axis(probabilities, order, axis=1)
    return TopFive(indices, values)


@pytest.mark.parametrize("classes", [2, 3, 5, 6])
def test_up_to_six_classes_the_scores_are_those_of_all_probabilities(
    classes: int,
) -> None:
    probabilities, targets = _forecasts(classes)
    top, every = _top_five(probabilities), range(classes)

    losses = log_losses(scores(top, targets, classes=classes))
    briers = brier_scores(scores(top, targets, classes=classes))

    assert losses.mean() == pytest.approx(
        log_loss(targets, probabilities, labels=every)
    )
    assert briers.mean() == pytest.approx(
        brier_score_loss(targets, probabilities, labels=every, scale_by_half=False)
    )


def test_beyond_the_five_the_rest_is_spread_evenly() -> None:
    """So the scores are scikit-learn's of that forecast."""
    probabilities, targets = _forecasts(20)
    top = _top_five(probabilities)
    spread = np.repeat((1 - top.probabilities.sum(axis=1))[:, None] / 15, 20, axis=1)
    np.put_along_axis(spread, top.indices, top.probabilities, axis=1)

    losses = log_losses(scores(top, targets, classes=20))
    briers = brier_scores(scores(top, targets, classes=20))

    assert (top.ranks(targets) == 0).any()
    assert losses.mean() == pytest.approx(log_loss(targets, spread, labels=range(20)))
    assert briers.mean() == pytest.approx(
        brier_score_loss(targets, spread, labels=range(20), scale_by_half=False)
    )


@pytest.mark.parametrize(
    "probabilities",
    [(1.0, 0.0, 0.0, 0.0, 0.0), (0.9, 0.1, 1e-7, 0.0, 0.0), (1.0, 2e-7, 0.0, 0.0, 0.0)],
)
@pytest.mark.parametrize("target", [0, 4, 7])
def test_what_is_never_expected_costs_much_and_not_infinitely(
    probabilities: tuple[float, ...], target: int
) -> None:
    """Also if rounding makes the sum larger than 1."""
    top = TopFive(np.arange(5)[None, :], np.array([probabilities]))
    truth = np.array([target])

    (loss,) = log_losses(scores(top, truth, classes=10))
    (brier,) = brier_scores(scores(top, truth, classes=10))

    assert 0 <= loss <= 15.95
    assert (loss > 15) == (target != 0)
    assert 0 <= brier <= 2 + 1e-6


def test_a_class_that_is_not_named_is_no_likelier_than_the_last_that_is() -> None:
    """An answer whose probabilities do not add up to 1."""
    top = TopFive(np.arange(5)[None, :], np.array([[0.3, 0.1, 0.1, 0.1, 0.05]]))

    (probability,) = scores(top, np.array([5]), classes=7).truth

    assert probability == 0.05


def test_no_images_have_no_scores() -> None:
    nothing = TopFive(np.empty((0, 5), np.int64), np.empty((0, 5)))
    none = np.empty(0, np.int64)

    assert log_losses(scores(nothing, none, classes=3)).shape == (0,)
    assert brier_scores(scores(nothing, none, classes=3)).shape == (0,)

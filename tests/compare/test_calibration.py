"""Confidence beside being right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import calibration_curve

from compare.agreement import FloatArray
from compare.calibration import (
    confidence_table,
    expected_calibration_error,
    reliability,
)


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

"""Confidence beside being right."""

import numpy as np
import pytest

from compare.calibration import expected_calibration_error


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

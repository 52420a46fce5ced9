"""Confidence and temperature, on answers whose calibration is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.ranking import IntArray, softmax
from compare.agreement import expected_calibration_error as compares_error
from training.calibration import (
    TEMPERATURES,
    calibrate,
    expected_calibration_error,
    fit_temperature,
)


def _drawn(sharpened: float) -> tuple[NDArray[np.float32], IntArray]:
    """Logits `sharpened` times those that the targets were drawn by: [4000, 10]."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (4_000, 10))
    cumulated = softmax(logits).cumsum(axis=1)
    targets = (cumulated < generator.random((4_000, 1))).sum(axis=1)
    return (logits * sharpened).astype(np.float32), np.minimum(targets, 9)


@pytest.mark.parametrize("sharpened", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_sharpened_the_logits(sharpened: float) -> None:
    logits, targets = _drawn(sharpened)

    found = calibrate(logits, targets)

    assert found.temperature == pytest.approx(sharpened, rel=0.05)
    assert found.temperature == pytest.approx(
        fit_temperature(logits, targets), rel=0.01
    )
    assert found.cross_fitted_error < 0.03


def test_confidence_that_runs_ahead_is_an_error_that_the_other_half_mends() -> None:
    found = calibrate(*_drawn(3.0))

    assert found.error > 0.15
    assert found.cross_fitted_error < found.error / 5


def test_the_error_is_that_of_compares_report() -> None:
    logits, targets = _drawn(2.0)
    probabilities = softmax(logits)

    ours = expected_calibration_error(probabilities, targets)
    theirs = compares_error(
        probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    )

    assert ours == theirs
    assert calibrate(logits, targets).error == pytest.approx(ours, abs=1e-6)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    """One in (0.4, 0.467] and one above: alone, their errors do not cancel out."""
    edge = np.linspace(0, 1, 16)[7]
    probabilities = np.array([[edge, 1 - edge - 0.2, 0.2], [edge + 0.01, 0.3, 0.22]])

    error = expected_calibration_error(probabilities, np.array([0, 1]))

    assert error == pytest.approx(((1 - edge) + (edge + 0.01)) / 2)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        ([[1, 2, 3]], [2]),
        ([[1, 2, 3]], [0]),
        ([[9, 0, 0], [0, 9, 0], [0, 0, 9]], [0, 1, 2]),
        ([[9, 0, 0], [0, 9, 0], [0, 0, 9]], [1, 2, 0]),
        ([[0, 0, 0], [0, 0, 0]], [0, 1]),
        ([[3e38, -3e38, 0], [-3e38, 3e38, 0]], [1, 1]),
    ],
    ids=["one", "one-wrong", "right", "wrong", "level", "huge"],
)
def test_few_or_extreme_answers_get_a_temperature_within_bounds(
    logits: list[list[float]], targets: list[int]
) -> None:
    found = calibrate(np.array(logits, np.float32), np.array(targets))

    assert TEMPERATURES[0] <= found.temperature <= TEMPERATURES[1]
    assert 0 <= found.error <= 1
    assert 0 <= found.cross_fitted_error <= 1


def test_the_same_answers_have_the_same_calibration() -> None:
    logits, targets = _drawn(2.0)

    assert calibrate(logits, targets) == calibrate(logits.copy(), targets.copy())

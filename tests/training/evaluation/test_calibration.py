"""Confidence and temperature, on answers whose calibration is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.metrics import IntArray, softmax
from classifier.metrics import expected_calibration_error as compares_error
from training.evaluation.calibration import TEMPERATURES, calibrate


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
    assert found.cross_fitted_error < 0.03


@pytest.mark.parametrize("sharpened", [0.4, 3.0])
def test_no_temperature_near_it_has_less_cross_entropy(sharpened: float) -> None:
    logits, targets = _drawn(sharpened)

    found = calibrate(logits, targets).temperature

    def cross_entropy(temperature: float) -> float:
        of_target = softmax(logits / temperature)[np.arange(len(targets)), targets]
        return -float(np.log(of_target).mean())

    assert cross_entropy(found) < cross_entropy(0.98 * found)
    assert cross_entropy(found) < cross_entropy(1.02 * found)


def test_confidence_that_runs_ahead_is_an_error_that_the_other_half_mends() -> None:
    found = calibrate(*_drawn(3.0))

    assert found.error > 0.15
    assert found.cross_fitted_error < found.error / 5


def test_the_error_is_that_of_compares_report() -> None:
    logits, targets = _drawn(2.0)
    probabilities = softmax(logits)

    ours = calibrate(logits, targets).error

    theirs = compares_error(
        probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    )
    assert ours == pytest.approx(theirs, abs=1e-6)  # ours is of float32 logarithms


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

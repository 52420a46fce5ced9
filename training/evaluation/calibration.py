"""Calibration of a network: expected calibration error, and the best temperature."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.metrics import FloatArray, IntArray, expected_calibration_error


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibration on the validation images; errors are fractions, 0..1."""

    error: float
    """Expected calibration error without a temperature, 15 bins."""

    temperature: float
    """Best divisor of the logits, fitted on all validation images; never applied."""

    cross_fitted_error: float
    """The error if each half of the images uses the temperature of the other half: an
    estimate for images on which the temperature was not fitted."""


TEMPERATURES = (0.01, 100.0)
"""Bounds of the search. If all answers are right, or none is of use, the best
temperature is zero or infinity, and the result is a bound."""

PRECISION = 0.001
"""Precision of the logarithm of a temperature: 0.1 %."""

_FARTHEST = 1e30
"""Largest distance of a logit from the highest. Divided by TEMPERATURES[0], it still
fits a float32."""


def calibrate(logits: FloatArray, targets: IntArray) -> Calibration:
    """The calibration of `logits` [N, K] against `targets` [N].

    Takes 0.1 s for 10,000 images of 200 classes. Error and temperature are equation 3
    and section 4.2 of Guo et al., "On Calibration of Modern Neural Networks", ICML
    2017. The temperature of no images is 1. The halves of the cross-fit are drawn with
    a fixed seed, as images may be sorted by class.
    """
    behind = _behind_first(logits)
    right = logits.argmax(axis=1) == targets
    order = np.random.default_rng(0).permutation(len(targets))
    halves = np.array_split(order, 2)
    fitted = [_fit(behind[h], targets[h], between=TEMPERATURES) for h in halves]
    confidences = np.empty(len(targets))
    for half, temperature in zip(halves, reversed(fitted), strict=True):
        confidences[half] = _confidences(behind[half], temperature)
    # Cross-entropy is convex in 1 / temperature, so the temperature of the whole lies
    # between those of its halves; an empty half has 1, which means nothing.
    bounds = sorted(fitted) if len(targets) > 1 else TEMPERATURES
    return Calibration(
        error=_error(_confidences(behind, 1.0), right),
        temperature=_fit(behind, targets, between=(bounds[0], bounds[1])),
        cross_fitted_error=_error(confidences, right),
    )


def _behind_first(logits: FloatArray) -> NDArray[np.float32]:
    """Each logit minus the highest of its row, [N, K], 0 or less.

    Half as many bytes as float64 and twice as fast; a loss keeps 7 digits.
    """
    differences = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    behind: NDArray[np.float32] = np.maximum(differences, -_FARTHEST).astype(np.float32)
    return behind


def _log_sums(behind: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """The logarithm of each row's sum of exponentials, [N]."""
    log_sums: NDArray[np.float32] = np.log(
        np.exp(behind / np.float32(temperature)).sum(axis=1)
    )
    return log_sums


def _confidences(
    behind: NDArray[np.float32], temperature: float
) -> NDArray[np.float64]:
    log_sums = _log_sums(behind, temperature).astype(np.float64)
    confidences: NDArray[np.float64] = np.exp(-log_sums)
    return confidences


def _fit(
    behind: NDArray[np.float32], targets: IntArray, *, between: tuple[float, float]
) -> float:
    # 0.2 s to import, which would delay the first step.
    from scipy.optimize import minimize_scalar

    if not len(targets):
        return 1.0
    of_target = behind[np.arange(len(targets)), targets].astype(np.float64)

    def cross_entropy(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        log_sums = _log_sums(behind, temperature)
        return float((log_sums - of_target / temperature).mean())

    found = minimize_scalar(
        cross_entropy,
        bounds=(math.log(between[0]), math.log(between[1])),
        method="bounded",
        options={"xatol": PRECISION},
    )
    return math.exp(float(found.x))


def _error(confidences: FloatArray, right: NDArray[np.bool_]) -> float:
    found = expected_calibration_error(confidences, right)
    return math.nan if found is None else found

"""The interval of the change of calibration error: how often it holds the truth."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, norm

from compare.agreement import FloatArray
from compare.calibration import expected_calibration_error
from compare.calibration_change import Forecasts, calibration_error_change
from compare.intervals import Estimate

EXACT = 300_000
"""Images from which a setting's true difference is computed, without noise of y."""


@dataclass(frozen=True)
class Pair:
    """N images: confidences of both versions, and the chances that they are right."""

    a: FloatArray
    a_true: FloatArray
    b: FloatArray
    b_true: FloatArray
    alike: bool = False
    """Whether what makes one wrong makes the other wrong too, always."""


Setting = Callable[[np.random.Generator, int], Pair]


def _honest(a: FloatArray, b: FloatArray) -> Pair:
    return Pair(a, a, b, b)


def _logits(rng: np.random.Generator, images: int) -> tuple[FloatArray, FloatArray]:
    """Two versions that find the same images hard."""
    shared, a, b = rng.normal(size=(3, images))
    return shared + 0.5 * a, shared + 0.5 * b


def equally_sure(rng: np.random.Generator, images: int) -> Pair:
    a, b = _logits(rng, images)
    return _honest(expit(a), expit(b))


def surer(rng: np.random.Generator, images: int) -> Pair:
    a, b = _logits(rng, images)
    return _honest(expit(0.4 * a), expit(2 * b + 0.5))


def nearly_certain(rng: np.random.Generator, images: int) -> Pair:
    a, b = rng.normal(size=(2, images))
    return _honest(0.02 + 0.96 * norm.cdf(a), expit(4 + 1.5 * b))


def always_half_sure(rng: np.random.Generator, images: int) -> Pair:
    a, b = rng.normal(size=(2, images))
    return _honest(0.02 + 0.96 * norm.cdf(a), 0.55 + 0.02 * norm.cdf(b))


def hardly_ever_wrong(rng: np.random.Generator, images: int) -> Pair:
    a, b = rng.normal(size=(2, images))
    return _honest(0.02 + 0.96 * norm.cdf(a), expit(6 + 0.5 * b))


def one_overconfident(rng: np.random.Generator, images: int) -> Pair:
    a, b = _logits(rng, images)
    return Pair(expit(a), expit(a), expit(1.8 * b), expit(b))


def one_slightly_overconfident(rng: np.random.Generator, images: int) -> Pair:
    a, b = _logits(rng, images)
    return Pair(expit(a), expit(a), expit(1.15 * b), expit(b))


def one_too_sure_everywhere(rng: np.random.Generator, images: int) -> Pair:
    a, b = _logits(rng, images)
    return Pair(expit(a), expit(a), expit(b + 0.7), expit(b))


def both_overconfident(rng: np.random.Generator, images: int) -> Pair:
    a, b = _logits(rng, images)
    return Pair(expit(1.5 * a), expit(a), expit(2.2 * b), expit(b))


def both_equally_overconfident(rng: np.random.Generator, images: int) -> Pair:
    a, b = _logits(rng, images)
    return Pair(expit(1.5 * a), expit(a), expit(1.5 * b), expit(b))


def one_nearly_the_other(rng: np.random.Generator, images: int) -> Pair:
    """As an int8 form is to its version."""
    a = _logits(rng, images)[0]
    b = a + 0.05 * rng.normal(size=images)
    return Pair(expit(1.5 * a), expit(a), expit(1.5 * b), expit(a), alike=True)


HONEST = [
    equally_sure,
    surer,
    nearly_certain,
    always_half_sure,
    hardly_ever_wrong,
]
OTHERS = [
    one_overconfident,
    one_slightly_overconfident,
    one_too_sure_everywhere,
    both_overconfident,
    both_equally_overconfident,
    one_nearly_the_other,
]
SHORT = [
    pytest.param(setting, 500, 60) for setting in (*HONEST, one_too_sure_everywhere)
]
LONG = [
    pytest.param(setting, images, 1_000, marks=pytest.mark.soak)
    for setting in HONEST + OTHERS
    for images in (500, 2_000, 10_000)
]


@pytest.mark.parametrize(("setting", "images", "draws"), SHORT + LONG)
def test_19_of_20_intervals_hold_the_true_change(
    setting: Setting, images: int, draws: int
) -> None:
    rng = np.random.default_rng(images)
    change = _true_change(setting(rng, EXACT if setting in OTHERS else 1))

    covered = sum(
        low <= change <= high
        for low, high in (_interval(setting, images, rng) for _ in range(draws))
    )

    # Fewer than this has a chance of 1 in 10,000 where the coverage is 95 %.
    assert covered >= binom.ppf(1e-4, draws, 0.95)


@pytest.mark.parametrize(
    ("setting", "images"),
    [
        (both_overconfident, 2_000),
        (one_overconfident, 2_000),
        (one_too_sure_everywhere, 2_000),
    ],
)
def test_a_large_change_is_found(setting: Setting, images: int) -> None:
    rng = np.random.default_rng(0)

    found = sum(_interval(setting, images, rng)[0] > 0 for _ in range(50))

    assert found >= 40  # 47, 50 and 50 here


def test_the_value_is_the_difference_of_the_errors() -> None:
    pair = surer(np.random.default_rng(0), 300)
    a, b = _drawn(pair, np.random.default_rng(1))

    change = calibration_error_change(baseline=a, candidate=b)

    errors = [expected_calibration_error(v.confidences, v.correct) for v in (a, b)]
    assert errors[0] is not None
    assert errors[1] is not None
    assert change.value == errors[1] - errors[0]
    back = calibration_error_change(baseline=b, candidate=a)
    assert back.low is not None
    assert back.high is not None
    assert (change.low, change.high) == (-back.high, -back.low)


def test_a_version_against_itself_has_no_change() -> None:
    rng = np.random.default_rng(0)
    a, _ = _drawn(both_overconfident(rng, 300), rng)

    change = calibration_error_change(baseline=a, candidate=a)

    assert (change.value, change.low, change.high) == (0, 0, 0)


def test_versions_that_nearly_always_agree_have_a_short_interval() -> None:
    pair = one_nearly_the_other(np.random.default_rng(0), 10_000)
    related, unrelated = (
        calibration_error_change(baseline=a, candidate=b)
        for a, b in (
            _drawn(each, np.random.default_rng(1))
            for each in (pair, replace(pair, alike=False))
        )
    )

    assert _width(related) < 0.65 * _width(unrelated)


@pytest.mark.parametrize("images", [0, 1, 2, 3])
def test_few_images_give_what_they_can(images: int) -> None:
    rng = np.random.default_rng(images)
    a, b = _drawn(surer(rng, images), rng)

    change = calibration_error_change(baseline=a, candidate=b)

    assert (change.value is None) == (images == 0)
    assert (change.low is None) == (images < 2)
    if change.low is not None:
        assert change.value is not None
        assert change.high is not None
        assert -1 <= change.low <= change.value <= change.high <= 1


def _width(change: Estimate) -> float:
    assert change.low is not None
    assert change.high is not None
    return change.high - change.low


def _interval(
    setting: Setting, images: int, rng: np.random.Generator
) -> tuple[float, float]:
    a, b = _drawn(setting(rng, images), rng)
    change = calibration_error_change(baseline=a, candidate=b)
    assert change.low is not None
    assert change.high is not None
    return change.low, change.high


def _drawn(pair: Pair, rng: np.random.Generator) -> tuple[Forecasts, Forecasts]:
    """Both right or wrong; on the same images more often than by chance."""
    shared, *own = rng.normal(size=(3, len(pair.a)))
    a_luck, b_luck = (norm.cdf(0.8 * shared + 0.6 * each) for each in own)
    return Forecasts(pair.a, a_luck < pair.a_true), Forecasts(
        pair.b, (a_luck if pair.alike else b_luck) < pair.b_true
    )


def _true_change(pair: Pair) -> float:
    """Errors over the same 15 bins, with chances in place of being right."""
    return _true_error(pair.b, pair.b_true) - _true_error(pair.a, pair.a_true)


def _true_error(confidences: FloatArray, chances: FloatArray) -> float:
    bins = np.clip(np.ceil(confidences * 15).astype(int) - 1, 0, 14)
    return float(np.abs(np.bincount(bins, chances - confidences)).sum() / len(bins))

"""The interval of the change of calibration error: how often it holds the truth."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.special import expit
from scipy.stats import binom, bootstrap, norm

from classifier.metrics import expected_calibration_error
from compare.statistics.bootstrap import (
    Forecasts,
    PairedChanges,
    calibration_error_change,
    confidence_change,
    paired_changes,
    percentile_interval,
    resampled_sums,
)
from compare.statistics.calibration import brier_scores, log_losses, scores
from compare.statistics.measure import Estimate
from compare.statistics.top_five import (
    FloatArray,
    IntArray,
    TopFive,
    mean_reciprocal_rank,
)
from tests.compare.conftest import CLASSES, made_up_comparison

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
    """True if both versions are always wrong on the same images."""


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
    """Like a version and its int8 form."""
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


def _changes(
    targets: IntArray, a: TopFive, b: TopFive, *, classes: int
) -> PairedChanges:
    a_scores, b_scores = (scores(top, targets, classes=classes) for top in (a, b))
    return paired_changes(targets, a, b, a_scores=a_scores, b_scores=b_scores)


def test_the_values_are_the_differences_of_the_versions_own() -> None:
    made_up = made_up_comparison()
    a, b, targets = made_up.a, made_up.b, made_up.targets

    changes = _changes(targets, a, b, classes=CLASSES)

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

    changes = _changes(targets, a, b, classes=classes)

    for change, score in (
        (changes.truth, lambda scores: scores.truth),
        (changes.log_loss, log_losses),
        (changes.brier_score, brier_scores),
    ):
        of_a, of_b = (score(scores(top, targets, classes=classes)) for top in (a, b))
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

    changes = _changes(targets, unsure, sure, classes=10)

    of_unsure, of_sure = np.log([0.2, 0.08]).mean(), np.log([0.96, 0.00002]).mean()
    assert changes.log_loss.value == pytest.approx(of_unsure - of_sure)
    assert changes.log_loss.low is not None
    assert changes.log_loss.low > 0


def test_a_version_against_itself_does_not_move() -> None:
    made_up = made_up_comparison()

    changes = _changes(made_up.targets, made_up.a, made_up.a, classes=CLASSES)

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

    whole = _changes(made_up.targets, made_up.a, made_up.b, classes=CLASSES)
    assert alone.confidence == whole.confidence
    assert alone.truth_images is None


def test_where_no_version_lists_the_truth_there_are_scores_all_the_same() -> None:
    made_up = made_up_comparison(50)
    beyond = np.full(50, 99)

    changes = _changes(beyond, made_up.a, made_up.b, classes=100)

    assert changes.truth_images == 0
    assert changes.reciprocal_rank.value == 0
    assert changes.log_loss.value is not None
    assert changes.truth.value is not None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_divide_by_nothing(count: int) -> None:
    made_up = made_up_comparison(count)

    changes = _changes(made_up.targets, made_up.a, made_up.b, classes=CLASSES)

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


def _means(values: FloatArray, *, resamples: int = 2_000, seed: int = 0) -> FloatArray:
    rows = csr_array(values[None, :])
    return resampled_sums(rows, resamples=resamples, seed=seed)[:, 0] / len(values)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], 400, p=[0.2, 0.5, 0.3])

    ours = percentile_interval(
        float(values.mean()), _means(values, resamples=20_000), images=400
    )

    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, batch=500, method="percentile", rng=1
    ).confidence_interval
    # two independent draws of 20,000: the ends' standard error is about 0.0005
    assert ours.low == pytest.approx(theirs.low, abs=0.003)
    assert ours.high == pytest.approx(theirs.high, abs=0.003)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        values = rng.choice([-1.0, 0.0, 1.0], 500, p=[0.1, 0.75, 0.15])
        interval = percentile_interval(
            float(values.mean()), _means(values, resamples=500), images=500
        )
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.05 <= interval.high

    # 95 %, four standard errors of 1.3 % below
    assert covered / 300 >= 0.90


def test_the_same_seed_gives_the_same_bytes() -> None:
    values = np.random.default_rng(4).normal(size=1_000)

    assert _means(values).tobytes() == _means(values).tobytes()
    assert _means(values).tobytes() != _means(values, seed=1).tobytes()


def test_one_image_has_a_value_and_no_interval() -> None:
    interval = percentile_interval(0.5, np.full(10, 0.5), images=1)

    assert (interval.value, interval.low, interval.high) == (0.5, None, None)

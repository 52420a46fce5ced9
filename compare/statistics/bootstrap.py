"""Mean changes from baseline to candidate, with their intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import norm

from classifier.metrics import (
    CALIBRATION_BINS,
    calibration_bin,
    expected_calibration_error,
)
from compare.statistics.calibration import Scores, brier_scores, log_losses
from compare.statistics.measure import NOTHING, Estimate
from compare.statistics.top_five import (
    BoolArray,
    FloatArray,
    IntArray,
    TopFive,
    reciprocal_ranks,
)

RESAMPLES = 2_000
SEED = 0

FEWEST_IMAGES = 2
"""With one image every resample is the same; an interval of no width would be wrong."""


def resampled_sums(
    features: Any, *, resamples: int = RESAMPLES, seed: int = SEED
) -> FloatArray:
    """[resamples, F]: sums of the features over N images drawn with replacement.

    `features` is a scipy sparse array [F, N] (scipy ships no types); all features see
    the same draws. One resample is in memory at a time. The sums come from scipy's
    sparse loops: the last digits of BLAS depend on its number of threads.
    """
    rng = np.random.default_rng(seed)
    count, images = features.shape
    sums = np.empty((resamples, count))
    for row in range(resamples):
        drawn = rng.integers(0, images, images, dtype=np.int32)
        sums[row] = features @ np.bincount(drawn, minlength=images).astype(np.float64)
    return sums


def percentile_interval(
    value: float, resampled: FloatArray, *, images: int
) -> Estimate:
    """The value with the middle 95 % of its resamples.

    Efron, Can. J. Statist. 9:139 (1981). One image gives no interval.
    """
    if images < FEWEST_IMAGES:
        return Estimate(value)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Estimate(value, float(low), float(high))


NORMAL_95 = float(norm.ppf(0.975))

NEARER = 1.0
"""Standard errors that are taken off a bin's gap before its bias is bounded.
The worst coverage in 1,568 settings of normal gaps in 1 to 15 bins: 87 % with 0.5, 93 %
with 0.75, 95 % with 1.0."""


@dataclass(frozen=True)
class Forecasts:
    """A version's first answers about N images."""

    confidences: FloatArray
    """[N], top-1 probabilities."""

    correct: BoolArray


@dataclass(frozen=True)
class _Gaps:
    """Correctness minus confidence, image by image and as a mean in each bin."""

    bins: IntArray
    """[N]"""

    gaps: FloatArray
    """[N]"""

    means: FloatArray
    """[15], over all N images; the calibration error is the sum of their sizes."""

    errors: FloatArray
    """[15], standard errors of `means`."""

    unseen: float
    """Variance that too few wrong answers hide; see `_unseen_squares`."""

    @property
    def signed(self) -> FloatArray:
        """[N], the contribution of each image to the calibration error, times N."""
        added: FloatArray = np.sign(self.means)[self.bins] * self.gaps
        return added


def calibration_error_change(*, baseline: Forecasts, candidate: Forecasts) -> Estimate:
    """Candidate's minus baseline's expected calibration error on the same images.

    The error is a sum of sizes |gap|, so chance makes it larger: by up to 0.8 standard
    errors in a bin whose true gap is 0 (the mean of a folded normal: Leone, Nelson,
    Nottingham, Technometrics 3:543, 1961; Kumar, Liang, Ma, NeurIPS 2019). The data
    show only an upper bound of this bias. The interval is therefore the normal one,
    made longer by the bound at each end, as in Armstrong and Kolesar, Quantitative
    Economics 11:1 (2020). It covers the true difference in at least 95 % of draws, and
    in nearly all if both versions are well calibrated.
    """
    images = len(baseline.correct)
    if images == 0:
        return NOTHING
    value = _error(candidate) - _error(baseline)
    if images < FEWEST_IMAGES:
        return Estimate(value)
    if _are_same(baseline, candidate):
        return Estimate(value, value, value)
    a, b = _gaps(baseline), _gaps(candidate)
    shared = _bias_of_pair(a, b)
    too_low = np.minimum(_largest_bias(a), shared).sum()
    too_high = np.minimum(_largest_bias(b), shared).sum()
    variance = np.var(b.signed - a.signed) / images + a.unseen + b.unseen
    reach = NORMAL_95 * np.sqrt(variance)
    low = max(-1.0, float(value - too_high - reach))
    return Estimate(value, low, min(1.0, float(value + too_low + reach)))


def _error(forecasts: Forecasts) -> float:
    error = expected_calibration_error(forecasts.confidences, forecasts.correct)
    assert error is not None
    return error


def _are_same(a: Forecasts, b: Forecasts) -> bool:
    """Whether the difference is 0 in every resample."""
    return np.array_equal(a.confidences, b.confidences) and np.array_equal(
        a.correct, b.correct
    )


def _gaps(forecasts: Forecasts) -> _Gaps:
    bins = calibration_bin(forecasts.confidences)
    gaps: FloatArray = forecasts.correct - forecasts.confidences
    images = len(gaps)
    means, squares = _in_bins(bins, gaps) / images, _in_bins(bins, gaps**2)
    unseen = _unseen_squares(bins, forecasts.confidences, squares)
    variances = ((squares + unseen) / images - means**2) / images
    errors = np.sqrt(np.maximum(variances, 0))
    return _Gaps(bins, gaps, means, errors, float(unseen.sum() / images**2))


def _in_bins(bins: IntArray, values: FloatArray) -> FloatArray:
    sums = np.bincount(bins, weights=values, minlength=CALIBRATION_BINS)
    return sums.astype(np.float64)


def _unseen_squares(
    bins: IntArray, confidences: FloatArray, squares: FloatArray
) -> FloatArray:
    """[15], how much larger the squared gaps would be if confidence were accurate.

    100 right answers of confidence 0.98 show no variance, but two wrong ones were
    expected. Without this term 90 % of intervals covered the truth at 100 images.
    """
    expected = _in_bins(bins, confidences * (1 - confidences))
    return np.maximum(expected - squares, 0)


def _largest_bias(gaps: _Gaps) -> FloatArray:
    """[15], upper bounds of the mean excess of each bin's |mean|."""
    errors = gaps.errors
    sizes = np.divide(
        np.abs(gaps.means), errors, out=np.zeros(CALIBRATION_BINS), where=errors > 0
    )
    sizes = np.maximum(sizes - NEARER, 0)
    # The mean of |normal(size, 1)| minus size.
    bias: FloatArray = errors * 2 * (norm.pdf(sizes) - sizes * norm.sf(sizes))
    return bias


def _bias_of_pair(a: _Gaps, b: _Gaps) -> FloatArray:
    """[15], upper bounds of the difference of each bin's two biases.

    A bias changes by at most the change of the gap plus 0.8 of its standard error. So
    versions with nearly the same answers, such as an int8 form, keep a short interval.
    """
    images = len(a.gaps)
    apart = b.means - a.means
    together = np.where(a.bins == b.bins, a.gaps * b.gaps, 0.0)
    squares = _in_bins(a.bins, a.gaps**2) + _in_bins(b.bins, b.gaps**2)
    squares -= 2 * _in_bins(a.bins, together)
    errors = np.sqrt(np.maximum(squares / images - apart**2, 0) / images)
    of_errors = 2 * norm.pdf(0) * np.abs(b.errors - a.errors)
    most: FloatArray = np.abs(apart) + 2 * errors + of_errors
    return most


@dataclass(frozen=True)
class PairedChanges:
    """Candidate minus baseline, paired.

    The intervals are percentile bootstraps, but for that of the calibration error.
    """

    confidence: Estimate
    truth: Estimate = NOTHING
    """Probability of the true class, over all images; see `Scores`."""

    truth_images: int | None = None
    """Images of which both versions list the truth."""

    reciprocal_rank: Estimate = NOTHING
    calibration_error: Estimate = NOTHING
    log_loss: Estimate = NOTHING
    brier_score: Estimate = NOTHING


def confidence_change(a: TopFive, b: TopFive) -> PairedChanges:
    """The change that needs no labels."""
    change = b.probabilities[:, 0] - a.probabilities[:, 0]
    if len(change) == 0:
        return PairedChanges(NOTHING)
    (confidence,) = _mean_changes(change)
    return PairedChanges(confidence)


def paired_changes(
    targets: IntArray,
    a: TopFive,
    b: TopFive,
    *,
    a_scores: Scores,
    b_scores: Scores,
) -> PairedChanges:
    """All changes, from the same resamples; `targets` are class indices [N]."""
    if len(targets) == 0:
        return PairedChanges(NOTHING)
    a_ranks, b_ranks = a.ranks(targets), b.ranks(targets)
    confidence, reciprocal_rank, truth, log_loss, brier_score = _mean_changes(
        b.probabilities[:, 0] - a.probabilities[:, 0],
        reciprocal_ranks(b_ranks) - reciprocal_ranks(a_ranks),
        b_scores.truth - a_scores.truth,
        log_losses(b_scores) - log_losses(a_scores),
        brier_scores(b_scores) - brier_scores(a_scores),
    )
    return PairedChanges(
        confidence=confidence,
        truth=truth,
        truth_images=int(((a_ranks > 0) & (b_ranks > 0)).sum()),
        reciprocal_rank=reciprocal_rank,
        calibration_error=calibration_error_change(
            baseline=Forecasts(a.probabilities[:, 0], a_ranks == 1),
            candidate=Forecasts(b.probabilities[:, 0], b_ranks == 1),
        ),
        log_loss=log_loss,
        brier_score=brier_score,
    )


def _mean_changes(*changes: FloatArray) -> list[Estimate]:
    """The mean of each change, [N], with its interval."""
    images = len(changes[0])
    sums = resampled_sums(csr_array(np.stack(changes)))
    return [
        percentile_interval(float(change.mean()), column / images, images=images)
        for change, column in zip(changes, sums.T, strict=True)
    ]

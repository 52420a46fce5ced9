"""The change of calibration error, with an interval that allows for its bias."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from compare.agreement import BoolArray, FloatArray, IntArray
from compare.bootstrap import FEWEST_IMAGES
from compare.calibration import (
    CALIBRATION_BINS,
    calibration_bin,
    expected_calibration_error,
)
from compare.intervals import NOTHING, Estimate

NORMAL_95 = float(norm.ppf(0.975))

NEARER = 1.0
"""Standard errors by which a bin's gap may be smaller than it looks, and its bias
larger. Normal gaps in 1 to 15 bins, 1,568 settings, the worst coverage: 87 % with 0.5,
93 % with 0.75, 95 % with 1.0."""


@dataclass(frozen=True)
class Forecasts:
    """A version's first answers about N images."""

    confidences: FloatArray
    """[N], top-1 probabilities."""

    correct: BoolArray


@dataclass(frozen=True)
class _Gaps:
    """Being right less confidence, image by image and as a mean in each bin."""

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
        """[N], what each image adds to the calibration error, times N."""
        added: FloatArray = np.sign(self.means)[self.bins] * self.gaps
        return added


def calibration_error_change(*, baseline: Forecasts, candidate: Forecasts) -> Estimate:
    """Candidate's less baseline's expected calibration error of the same images.

    The error is a sum of sizes |gap|, so chance makes it larger, by up to 0.8 standard
    errors in a bin where the truth is no gap (the mean of a folded normal: Leone,
    Nelson, Nottingham, Technometrics 3:543, 1961; Kumar, Liang, Ma, NeurIPS 2019). How
    large a bias is, nobody can know from the data, only how large at most. The interval
    is therefore the normal one, made longer by the largest bias at either end, as in
    Armstrong and Kolesar, Quantitative Economics 11:1 (2020). It covers the true
    difference in 95 % of draws or more: in nearly all where both are well calibrated.
    """
    images = len(baseline.correct)
    if images == 0:
        return NOTHING
    value = _error(candidate) - _error(baseline)
    if images < FEWEST_IMAGES:
        return Estimate(value, None, None)
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
    """Whether the difference is 0 whatever images are drawn."""
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
    """[15], by how much squared gaps would be larger, were confidence honest.

    100 answers of confidence 0.98, all right, look like no variance at all; two wrong
    ones were expected. Without this 90 % of intervals covered at 100 images.
    """
    expected = _in_bins(bins, confidences * (1 - confidences))
    return np.maximum(expected - squares, 0)


def _largest_bias(gaps: _Gaps) -> FloatArray:
    """[15]: by how much a bin's |mean| may be too large on average."""
    errors = gaps.errors
    sizes = np.divide(
        np.abs(gaps.means), errors, out=np.zeros(CALIBRATION_BINS), where=errors > 0
    )
    sizes = np.maximum(sizes - NEARER, 0)
    # The mean of |normal(size, 1)| less size.
    bias: FloatArray = errors * 2 * (norm.pdf(sizes) - sizes * norm.sf(sizes))
    return bias


def _bias_of_pair(a: _Gaps, b: _Gaps) -> FloatArray:
    """[15]: by how much the two biases of a bin may differ at most.

    A bias changes by no more than the gap does, and by 0.8 of its standard error. So
    versions that nearly always answer alike, such as an int8 form, keep a short
    interval.
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

"""Intervals for what has no formula: the images drawn again, many times."""

from typing import Any

import numpy as np

from compare.agreement import FloatArray
from compare.intervals import NOTHING, Estimate

RESAMPLES = 2_000
SEED = 0

FEWEST_IMAGES = 2
"""One image drawn again is always the same: an interval without width would lie."""


def resampled_sums(
    features: Any, *, resamples: int = RESAMPLES, seed: int = SEED
) -> FloatArray:
    """[resamples, F]: the sums of features over N images drawn with return.

    `features` is a scipy sparse array [F, N] (scipy ships no types); all see the same
    draws. One resample at a time, so memory is that of the features. scipy's sparse
    loops add up, and not BLAS, whose last digits depend on its threads: the same to the
    byte.
    """
    rng = np.random.default_rng(seed)
    count, images = features.shape
    sums = np.empty((resamples, count))
    for row in range(resamples):
        drawn = rng.integers(0, images, images, dtype=np.int32)
        sums[row] = features @ np.bincount(drawn, minlength=images).astype(np.float64)
    return sums


def percentile_interval(
    value: float | None, resampled: FloatArray, *, images: int
) -> Estimate:
    """The value with the middle 95 % of what the resamples of `images` images gave.

    Efron, Can. J. Statist. 9:139 (1981). Resamples without a value (NaN) do not count;
    no ends for one image.
    """
    if value is None:
        return NOTHING
    known = resampled[~np.isnan(resampled)]
    if images < FEWEST_IMAGES or len(known) == 0:
        return Estimate(value, None, None)
    low, high = np.quantile(known, (0.025, 0.975))
    return Estimate(value, float(low), float(high))

"""What moves on the mean image when the candidate answers in the baseline's place."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from compare.agreement import FloatArray, IntArray, TopFive
from compare.bootstrap import percentile_interval, resampled_sums
from compare.calibration_change import Forecasts, calibration_error_change
from compare.intervals import NOTHING, Estimate
from compare.ranks import reciprocal_ranks


@dataclass(frozen=True)
class PairedChanges:
    """Candidate's less baseline's, paired; intervals by the percentile bootstrap, but
    for the calibration error's."""

    confidence: Estimate
    truth: Estimate = NOTHING
    """Of the truth's own probability, over the images where both list it."""

    truth_images: int | None = None
    reciprocal_rank: Estimate = NOTHING
    calibration_error: Estimate = NOTHING


def confidence_change(a: TopFive, b: TopFive) -> PairedChanges:
    """What can be said without the truth."""
    change = b.probabilities[:, 0] - a.probabilities[:, 0]
    if len(change) == 0:
        return PairedChanges(NOTHING)
    sums = resampled_sums(csr_array(change[None, :]))
    return PairedChanges(_mean(change, sums[:, 0]))


def paired_changes(targets: IntArray, a: TopFive, b: TopFive) -> PairedChanges:
    """All from the same draws; `targets` are class indices [N]."""
    if len(targets) == 0:
        return PairedChanges(NOTHING)
    a_ranks, b_ranks = a.ranks(targets), b.ranks(targets)
    listed = (a_ranks > 0) & (b_ranks > 0)
    confidence = b.probabilities[:, 0] - a.probabilities[:, 0]
    reciprocal = reciprocal_ranks(b_ranks) - reciprocal_ranks(a_ranks)
    truth = np.where(listed, _of_truth(b, b_ranks) - _of_truth(a, a_ranks), 0.0)
    means = np.stack([confidence, reciprocal, truth, listed])
    sums = resampled_sums(csr_array(means))
    return PairedChanges(
        confidence=_mean(confidence, sums[:, 0]),
        reciprocal_rank=_mean(reciprocal, sums[:, 1]),
        truth=_mean_over(truth[listed], sums[:, 2], counts=sums[:, 3]),
        truth_images=int(listed.sum()),
        calibration_error=calibration_error_change(
            baseline=Forecasts(a.probabilities[:, 0], a_ranks == 1),
            candidate=Forecasts(b.probabilities[:, 0], b_ranks == 1),
        ),
    )


def _mean(changes: FloatArray, sums: FloatArray) -> Estimate:
    images = len(changes)
    return percentile_interval(float(changes.mean()), sums / images, images=images)


def _mean_over(changes: FloatArray, sums: FloatArray, counts: FloatArray) -> Estimate:
    """Of a part of the images, whose size is another in each resample."""
    if len(changes) == 0:
        return NOTHING
    nothing = np.full(len(sums), np.nan)
    means = np.divide(sums, counts, out=nothing, where=counts > 0)
    return percentile_interval(float(changes.mean()), means, images=len(changes))


def _of_truth(top: TopFive, ranks: IntArray) -> FloatArray:
    """[N], the truth's probability; some other one where it is not listed."""
    place = np.maximum(ranks - 1, 0)
    probabilities: FloatArray = top.probabilities[np.arange(len(ranks)), place]
    return probabilities

"""What moves on the mean image when the candidate answers in the baseline's place."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array, vstack

from compare.agreement import BoolArray, FloatArray, IntArray, TopFive
from compare.bootstrap import percentile_interval, resampled_sums
from compare.calibration import (
    CALIBRATION_BINS,
    calibration_bin,
    expected_calibration_error,
)
from compare.intervals import NOTHING, Estimate
from compare.ranks import reciprocal_ranks


@dataclass(frozen=True)
class PairedChanges:
    """Candidate's less baseline's, with paired percentile bootstrap intervals."""

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
    images = len(targets)
    if images == 0:
        return PairedChanges(NOTHING)
    a_ranks, b_ranks = a.ranks(targets), b.ranks(targets)
    listed = (a_ranks > 0) & (b_ranks > 0)
    confidence = b.probabilities[:, 0] - a.probabilities[:, 0]
    reciprocal = reciprocal_ranks(b_ranks) - reciprocal_ranks(a_ranks)
    truth = np.where(listed, _of_truth(b, b_ranks) - _of_truth(a, a_ranks), 0.0)
    means = np.stack([confidence, reciprocal, truth, listed])
    gaps = (_gaps(a, a_ranks == 1), _gaps(b, b_ranks == 1))
    sums = resampled_sums(vstack([csr_array(means), *gaps], format="csr"))
    return PairedChanges(
        confidence=_mean(confidence, sums[:, 0]),
        reciprocal_rank=_mean(reciprocal, sums[:, 1]),
        truth=_mean_over(truth[listed], sums[:, 2], counts=sums[:, 3]),
        truth_images=int(listed.sum()),
        calibration_error=percentile_interval(
            _calibration_error(b, b_ranks) - _calibration_error(a, a_ranks),
            _resampled_errors(sums, 1, images) - _resampled_errors(sums, 0, images),
            images=images,
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


def _gaps(top: TopFive, correct: BoolArray) -> Any:
    """Sparse [15, N]: being right less confidence, in the row of the image's bin."""
    confidences = top.probabilities[:, 0]
    images = len(confidences)
    places = (calibration_bin(confidences), np.arange(images))
    return csr_array((correct - confidences, places), shape=(CALIBRATION_BINS, images))


def _resampled_errors(sums: FloatArray, version: int, images: int) -> FloatArray:
    """[resamples]; the version's 15 gaps stand behind the four means."""
    start = 4 + version * CALIBRATION_BINS
    errors: FloatArray = np.abs(sums[:, start : start + CALIBRATION_BINS]).sum(axis=1)
    return errors / images


def _calibration_error(top: TopFive, ranks: IntArray) -> float:
    error = expected_calibration_error(top.probabilities[:, 0], ranks == 1)
    assert error is not None
    return error

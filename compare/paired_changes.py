"""What moves on the mean image when the candidate answers in the baseline's place."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from compare.agreement import FloatArray, IntArray, TopFive
from compare.bootstrap import percentile_interval, resampled_sums
from compare.calibration_change import Forecasts, calibration_error_change
from compare.intervals import NOTHING, Estimate
from compare.ranks import reciprocal_ranks
from compare.scores import brier_scores, log_losses, truth_probabilities

Score = Callable[..., FloatArray]
"""Takes answers to N images, targets and `classes`; gives [N]."""


@dataclass(frozen=True)
class PairedChanges:
    """Candidate's less baseline's, paired; intervals by the percentile bootstrap, but
    for the calibration error's."""

    confidence: Estimate
    truth: Estimate = NOTHING
    """The truth's own probability, over all images; see `truth_probabilities`."""

    truth_images: int | None = None
    """Where both list the truth."""

    reciprocal_rank: Estimate = NOTHING
    calibration_error: Estimate = NOTHING
    log_loss: Estimate = NOTHING
    brier_score: Estimate = NOTHING


def confidence_change(a: TopFive, b: TopFive) -> PairedChanges:
    """What can be said without the truth."""
    change = b.probabilities[:, 0] - a.probabilities[:, 0]
    if len(change) == 0:
        return PairedChanges(NOTHING)
    (confidence,) = _mean_changes(change)
    return PairedChanges(confidence)


def paired_changes(
    targets: IntArray, a: TopFive, b: TopFive, *, classes: int
) -> PairedChanges:
    """All from the same draws; `targets` are class indices [N] of `classes`."""
    if len(targets) == 0:
        return PairedChanges(NOTHING)
    a_ranks, b_ranks = a.ranks(targets), b.ranks(targets)

    def change(score: Score) -> FloatArray:
        return score(b, targets, classes=classes) - score(a, targets, classes=classes)

    confidence, reciprocal_rank, truth, log_loss, brier_score = _mean_changes(
        b.probabilities[:, 0] - a.probabilities[:, 0],
        reciprocal_ranks(b_ranks) - reciprocal_ranks(a_ranks),
        change(truth_probabilities),
        change(log_losses),
        change(brier_scores),
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
    """The mean of each, [N], with its interval."""
    images = len(changes[0])
    sums = resampled_sums(csr_array(np.stack(changes)))
    return [
        percentile_interval(float(change.mean()), column / images, images=images)
        for change, column in zip(changes, sums.T, strict=True)
    ]

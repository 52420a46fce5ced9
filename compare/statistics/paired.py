"""Intervals and tests for shares, and for the difference of two paired shares."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from compare.statistics.measure import NOTHING, Estimate


@dataclass(frozen=True)
class PairedTable:
    """N images by whether each of two versions is right."""

    both_right: int
    broken: int
    """Right in the baseline, wrong in the candidate: a negative flip."""

    fixed: int
    """Wrong in the baseline, right in the candidate: a positive flip."""

    both_wrong: int

    @property
    def images(self) -> int:
        return self.both_right + self.broken + self.fixed + self.both_wrong


def share(count: int, total: int) -> Estimate:
    """count / total with Wilson's interval (JASA 22:209, 1927)."""
    if total == 0:
        return NOTHING
    low, high = proportion_confint(count, total, alpha=0.05, method="wilson")
    return Estimate(count / total, float(low), float(high))


def paired_difference(table: PairedTable) -> Estimate:
    """Candidate's minus baseline's accuracy, with Newcombe's interval.

    Newcombe, Statistics in Medicine 17:2635 (1998), method 10: Wilson's intervals of
    the two accuracies, squared and added, minus a term of their correlation phi; phi
    with the continuity correction of the same page.
    """
    if table.images == 0:
        return NOTHING
    baseline = share(table.both_right + table.broken, table.images)
    candidate = share(table.both_right + table.fixed, table.images)
    phi = _corrected_phi(table)
    value = (table.fixed - table.broken) / table.images
    candidate_down, candidate_up = _reach(candidate)
    baseline_down, baseline_up = _reach(baseline)
    return Estimate(
        value,
        value - _joined(candidate_down, baseline_up, phi),
        value + _joined(candidate_up, baseline_down, phi),
    )


def mcnemar_exact(table: PairedTable) -> float:
    """Two-sided p of a split at least as uneven, if both flips are equally likely.

    1 if nothing was broken or fixed. Fagerland, Lydersen and Laake, BMC Medical
    Research Methodology 13:91 (2013), "exact conditional test".
    """
    flips = table.broken + table.fixed
    if flips == 0:
        return 1.0
    fewer = min(table.broken, table.fixed)
    return min(1.0, 2 * float(binom.cdf(fewer, flips, 0.5)))


def mcnemar_mid_p(table: PairedTable) -> float:
    """The exact test with half the weight of the observed split: less conservative.

    The same source; in 9,595 situations there it never exceeded its nominal level.
    """
    flips = table.broken + table.fixed
    if flips == 0:
        return 1.0
    fewer = min(table.broken, table.fixed)
    point = float(binom.pmf(fewer, flips, 0.5))
    if table.broken == table.fixed:
        return 1.0 - point / 2
    # Of denormal probabilities the difference can be below 0.
    return max(0.0, 2 * float(binom.cdf(fewer, flips, 0.5)) - point)


def _corrected_phi(table: PairedTable) -> float:
    margins = (
        float(table.both_right + table.broken)
        * (table.fixed + table.both_wrong)
        * (table.both_right + table.fixed)
        * (table.broken + table.both_wrong)
    )
    if margins == 0:
        return 0.0
    product = (
        float(table.both_right) * table.both_wrong - float(table.broken) * table.fixed
    )
    if product > 0:
        product = max(product - table.images / 2, 0.0)
    return product / float(np.sqrt(margins))


def _reach(estimate: Estimate) -> tuple[float, float]:
    """Distances from the value down and up to the ends of its interval."""
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.value - estimate.low, estimate.high - estimate.value


def _joined(one: float, other: float, phi: float) -> float:
    return float(np.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0)))


def relative_flip_rate(table: PairedTable) -> float | None:
    """Broken images, against as many as two unrelated versions would break.

    Unrelated: of these accuracies, with errors independent of each other; 1 is as
    unrelated. None if such versions would break none. Yan et al., CVPR 2021 (arXiv
    2011.09161), the relative NFR.
    """
    baseline_right = table.both_right + table.broken
    candidate_wrong = table.broken + table.both_wrong
    if baseline_right == 0 or candidate_wrong == 0:
        return None
    return table.broken * table.images / (baseline_right * candidate_wrong)


def backward_trust(table: PairedTable) -> Estimate:
    """The share of what the baseline had right that stays right.

    Bansal et al., AAAI 2019, "Updates in Human-AI Teams" (BTC), over all images.
    """
    return share(table.both_right, table.both_right + table.broken)


def error_compatibility(table: PairedTable) -> Estimate:
    """The share of what the baseline had wrong that stays wrong.

    BEC as in Microsoft's BackwardCompatibilityML. (Srivastava et al., KDD 2020, divide
    by the candidate's errors instead.)
    """
    return share(table.both_wrong, table.fixed + table.both_wrong)


def excess_churn(table: PairedTable) -> float | None:
    """The share of images that flip beyond the |fixed - broken| that the accuracies
    ask for."""
    if table.images == 0:
        return None
    return 2 * min(table.broken, table.fixed) / table.images


def correctness_kappa(table: PairedTable) -> float | None:
    """Cohen's kappa of the two versions being right, -1..1.

    None if chance alone would always agree: both all right, both all wrong, or no
    image. Educ. Psychol. Meas. 20:37 (1960).
    """
    if table.images in (0, table.both_right, table.both_wrong):
        return None
    square = [[table.both_right, table.broken], [table.fixed, table.both_wrong]]
    return float(cohens_kappa(square, return_results=False))

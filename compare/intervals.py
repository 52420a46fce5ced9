"""Intervals and tests for shares, and for the difference of two paired ones."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval; None where one does not exist."""

    value: float | None
    low: float | None
    high: float | None


NOTHING = Estimate(None, None, None)


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
    the two accuracies, squared and added, less what their correlation phi shares; phi
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
    """Two-sided p of a split at least as uneven, were broken and fixed equally likely.

    1 where nothing was broken or fixed. Fagerland, Lydersen and Laake, BMC Medical
    Research Methodology 13:91 (2013), "exact conditional test".
    """
    flips = table.broken + table.fixed
    if flips == 0:
        return 1.0
    fewer = min(table.broken, table.fixed)
    return min(1.0, 2 * float(binom.cdf(fewer, flips, 0.5)))


def mcnemar_mid_p(table: PairedTable) -> float:
    """The exact test with half the weight of the split seen: less conservative.

    The same source; never above its nominal level in any of 9,595 situations there.
    """
    flips = table.broken + table.fixed
    if flips == 0:
        return 1.0
    fewer = min(table.broken, table.fixed)
    point = float(binom.pmf(fewer, flips, 0.5))
    if table.broken == table.fixed:
        return 1.0 - point / 2
    return 2 * float(binom.cdf(fewer, flips, 0.5)) - point


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
    """How far the interval reaches down and up from the value."""
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.value - estimate.low, estimate.high - estimate.value


def _joined(one: float, other: float, phi: float) -> float:
    return float(np.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0)))

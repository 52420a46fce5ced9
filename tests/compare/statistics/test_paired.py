"""Intervals and tests, against published values and other implementations."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.contingency_tables import mcnemar

from compare.statistics.paired import (
    PairedTable,
    backward_trust,
    correctness_kappa,
    error_compatibility,
    excess_churn,
    mcnemar_exact,
    mcnemar_mid_p,
    paired_difference,
    relative_flip_rate,
    share,
)

# Airway hyper-responsiveness before and after stem cell transplantation, 21 children
# (Bentur et al. 2009): the worked example of Fagerland, Lydersen and Laake, BMC Med Res
# Methodol 13:91 (2013), table 2, and Stat Med 33:2850 (2014).
AIRWAYS = PairedTable(both_right=1, broken=1, fixed=7, both_wrong=12)


# Complete response before and after consolidation, 161 patients (Cavo et al. 2012):
# the tests of the R package contingencytables, of Fagerland, Lydersen and Laake's book
# "Statistical Analysis of Contingency Tables" (2017), chapter 8.
RESPONSE = PairedTable(both_right=59, broken=6, fixed=16, both_wrong=80)


def test_mcnemar_gives_the_published_values() -> None:
    assert mcnemar_exact(AIRWAYS) == pytest.approx(0.070, abs=5e-4)
    assert mcnemar_mid_p(AIRWAYS) == pytest.approx(0.039, abs=5e-4)
    assert mcnemar_exact(RESPONSE) == pytest.approx(0.052479, abs=5e-7)
    assert mcnemar_mid_p(RESPONSE) == pytest.approx(0.034690, abs=5e-7)


@pytest.mark.parametrize(
    ("table", "value", "low", "high", "digits"),
    [
        # Stat Med 33:2850, "Newcombe square-and-add"
        (AIRWAYS, 6 / 21, 0.026, 0.507, 3),
        (RESPONSE, 0.0621, 0.0046, 0.1186, 4),
    ],
)
def test_newcombes_interval_gives_the_published_values(
    table: PairedTable, value: float, low: float, high: float, digits: int
) -> None:
    delta = paired_difference(table)

    assert delta.value == pytest.approx(value, abs=5e-5)
    assert delta.low == pytest.approx(low, abs=0.51 * 10**-digits)
    assert delta.high == pytest.approx(high, abs=0.51 * 10**-digits)


def test_wilsons_interval_gives_the_published_values() -> None:
    # Newcombe, Stat Med 17:857 (1998), table I, method 3
    for count, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # Brown, Cai and DasGupta, Stat. Sci. 16:101 (2001): nothing of 10
        (0, 10, 0.0, 0.2775),
    ):
        estimate = share(count, total)
        assert estimate.low == pytest.approx(low, abs=5e-5)
        assert estimate.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize("seed", range(20))
def test_the_exact_test_is_statsmodels_and_scipys(seed: int) -> None:
    table = _random_table(seed)
    flips = table.broken + table.fixed

    p = mcnemar_exact(table)

    square = [[table.both_right, table.broken], [table.fixed, table.both_wrong]]
    assert p == pytest.approx(mcnemar(square, exact=True).pvalue)
    assert p == pytest.approx(binomtest(table.broken, flips).pvalue)


@pytest.mark.parametrize("seed", range(20))
def test_mid_p_is_the_exact_p_less_the_point_seen(seed: int) -> None:
    table = _random_table(seed)
    flips = table.broken + table.fixed

    point = comb(flips, table.broken) / 2**flips

    if table.broken != table.fixed:
        assert mcnemar_mid_p(table) == pytest.approx(mcnemar_exact(table) - point)
    assert mcnemar_mid_p(table) <= mcnemar_exact(table)


def test_an_even_split_says_nothing() -> None:
    table = PairedTable(10, 4, 4, 10)

    assert mcnemar_exact(table) == 1.0
    assert mcnemar_mid_p(table) == pytest.approx(1 - 70 / 256 / 2)


def test_without_flips_p_is_one_and_the_interval_holds_zero() -> None:
    table = PairedTable(30, 0, 0, 70)

    assert mcnemar_exact(table) == mcnemar_mid_p(table) == 1.0
    delta = paired_difference(table)
    assert delta.value == 0
    assert delta.low is not None
    assert delta.high is not None
    assert delta.low < 0 < delta.high


def test_what_does_not_exist_is_none() -> None:
    nothing = PairedTable(0, 0, 0, 0)

    assert share(0, 0).value is None
    assert paired_difference(nothing).low is None
    assert mcnemar_mid_p(nothing) == 1.0


@pytest.mark.parametrize(
    "table",
    [
        PairedTable(5, 0, 0, 0),
        PairedTable(0, 0, 0, 5),
        PairedTable(0, 5, 0, 0),
        PairedTable(0, 0, 5, 0),
        PairedTable(0, 3, 3, 0),
        PairedTable(1, 0, 0, 0),
    ],
)
def test_extreme_tables_have_an_interval_around_the_value(table: PairedTable) -> None:
    delta = paired_difference(table)

    assert delta.value is not None
    assert delta.low is not None
    assert delta.high is not None
    assert -1 - 1e-9 <= delta.low <= delta.value <= delta.high <= 1 + 1e-9


def test_newcombes_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.25, 0.10, 0.08, 0.57])
    covered = 0
    for counts in rng.multinomial(200, shares, size=2_000):
        delta = paired_difference(PairedTable(*map(int, counts)))
        assert delta.low is not None
        assert delta.high is not None
        covered += delta.low <= shares[2] - shares[1] <= delta.high

    # 95 %, four standard errors of 0.5 % to either side
    assert 0.93 <= covered / 2_000 <= 0.97


COUNTS = st.integers(0, 2_000)


@given(st.builds(PairedTable, COUNTS, COUNTS, COUNTS, COUNTS))
def test_whatever_the_table_ps_and_intervals_are_in_their_range(
    table: PairedTable,
) -> None:
    mid_p, exact = mcnemar_mid_p(table), mcnemar_exact(table)
    delta = paired_difference(table)

    assert 0 <= mid_p <= exact <= 1
    assert mid_p == mcnemar_mid_p(_swapped(table))
    if table.images == 0:
        assert delta.value is None
        return
    assert delta.value is not None
    assert delta.low is not None
    assert delta.high is not None
    assert -1 - 1e-9 <= delta.low <= delta.value <= delta.high <= 1 + 1e-9
    mirrored = paired_difference(_swapped(table))
    assert mirrored.low == pytest.approx(-delta.high)


def _swapped(table: PairedTable) -> PairedTable:
    """Baseline and candidate in each other's place."""
    return PairedTable(table.both_right, table.fixed, table.broken, table.both_wrong)


def _random_table(seed: int) -> PairedTable:
    counts = np.random.default_rng(seed).integers(1, 40, 4)
    return PairedTable(*map(int, counts))


FLIPS = st.integers(0, 300)
TABLES = st.builds(PairedTable, FLIPS, FLIPS, FLIPS, FLIPS)


@pytest.mark.parametrize(
    ("old_error", "new_error", "flip_rate", "relative"),
    [
        # Yan et al., arXiv 2011.09161, table 2a, ILSVRC12: no treatment, naive, BCT
        (30.24, 30.29, 6.44, 30.48),
        (30.24, 29.34, 5.72, 27.95),
        (30.24, 29.66, 6.39, 30.88),
        # table 2b, iNaturalist; table 4, ResNet-18 to ResNet-50
        (40.69, 41.06, 7.77, 31.91),
        (30.24, 25.85, 4.89, 27.12),
    ],
)
def test_relative_flip_rates_are_the_published_ones(
    old_error: float, new_error: float, flip_rate: float, relative: float
) -> None:
    broken = round(100 * flip_rate)  # of 10,000 images
    both_right = round(100 * (100 - old_error)) - broken
    both_wrong = round(100 * new_error) - broken
    fixed = 10_000 - both_right - broken - both_wrong

    rate = relative_flip_rate(PairedTable(both_right, broken, fixed, both_wrong))

    # accuracies of two decimals in per cent
    assert rate == pytest.approx(relative / 100, abs=1e-4)


def test_compatibility_is_of_the_baselines_right_and_wrong_images() -> None:
    table = PairedTable(both_right=2900, broken=500, fixed=800, both_wrong=5800)

    assert backward_trust(table) == share(2900, 3400)
    assert error_compatibility(table) == share(5800, 6600)
    assert excess_churn(table) == pytest.approx(0.1)
    assert relative_flip_rate(table) == pytest.approx(500 * 10_000 / (3400 * 6300))


@pytest.mark.parametrize(
    ("table", "trust", "error"),
    [
        # backwardcompatibilityml 1.4.2, trust_compatibility_score() and
        # error_compatibility_score(), of label lists with these counts
        (PairedTable(11, 4, 2, 3), 0.7333333333333333, 0.6),
        (PairedTable(2018, 1095, 975, 5912), 0.6482492772245423, 0.8584289240598229),
    ],
)
def test_compatibility_is_that_of_the_library_it_is_named_after(
    table: PairedTable, trust: float, error: float
) -> None:
    assert backward_trust(table).value == pytest.approx(trust)
    assert error_compatibility(table).value == pytest.approx(error)


@pytest.mark.parametrize("fixed", [1000, 1074, 1075, 5000])
def test_mid_p_of_nearly_nothing_is_not_below_zero(fixed: int) -> None:
    """Twice a probability less a probability, both too small for all their digits."""
    table = PairedTable(both_right=0, broken=1, fixed=fixed, both_wrong=0)

    assert 0 <= mcnemar_mid_p(table) <= mcnemar_exact(table) < 1e-290


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # https://en.wikipedia.org/wiki/Cohen%27s_kappa, its three examples
        (PairedTable(20, 5, 10, 15), 0.40),
        (PairedTable(45, 15, 25, 15), 0.1304),
        (PairedTable(25, 35, 5, 35), 0.2593),
    ],
)
def test_kappa_is_the_published_one(table: PairedTable, kappa: float) -> None:
    assert correctness_kappa(table) == pytest.approx(kappa, abs=5e-5)


@given(TABLES)
def test_whatever_the_table_nothing_divides_by_zero(table: PairedTable) -> None:
    baseline_right = table.both_right + table.broken
    assert (backward_trust(table).value is None) == (baseline_right == 0)
    assert (excess_churn(table) is None) == (table.images == 0)
    kappa = correctness_kappa(table)
    if kappa is not None:
        assert -1 - 1e-12 <= kappa <= 1 + 1e-12
    if table.images:
        churn = (table.broken + table.fixed) / table.images
        forced = abs(table.fixed - table.broken) / table.images
        assert excess_churn(table) == pytest.approx(churn - forced)


@given(TABLES.filter(lambda t: t.images not in (0, t.both_right, t.both_wrong)))
def test_kappa_is_scikit_learns(table: PairedTable) -> None:
    counts = (table.both_right, table.broken, table.fixed, table.both_wrong)
    expected = cohen_kappa_score(
        [1, 1, 0, 0], [1, 0, 1, 0], sample_weight=[float(n) for n in counts]
    )

    assert correctness_kappa(table) == pytest.approx(expected)


@pytest.mark.parametrize(
    "table", [PairedTable(0, 0, 0, 0), PairedTable(7, 0, 0, 0), PairedTable(0, 0, 0, 7)]
)
def test_two_versions_always_right_or_always_wrong_have_no_kappa(
    table: PairedTable,
) -> None:
    assert correctness_kappa(table) is None
    assert relative_flip_rate(table) is None

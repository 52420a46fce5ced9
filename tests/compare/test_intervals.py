"""Intervals and tests, against published values and other implementations."""

from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar

from compare.intervals import (
    PairedTable,
    mcnemar_exact,
    mcnemar_mid_p,
    paired_difference,
    share,
)

# Airway hyper-responsiveness before and after stem cell transplantation, 21 children
# (Bentur et al. 2009): the worked example of Fagerland, Lydersen and Laake, BMC Med Res
# Methodol 13:91 (2013), table 2, and Stat Med 33:2850 (2014).
AIRWAYS = PairedTable(both_right=1, broken=1, fixed=7, both_wrong=12)


def test_mcnemar_gives_the_published_values() -> None:
    assert mcnemar_exact(AIRWAYS) == pytest.approx(0.070, abs=5e-4)
    assert mcnemar_mid_p(AIRWAYS) == pytest.approx(0.039, abs=5e-4)


def test_newcombes_interval_gives_the_published_values() -> None:
    # Stat Med 33:2850, "Newcombe square-and-add" for the same children
    delta = paired_difference(AIRWAYS)

    assert delta.value == pytest.approx(6 / 21)
    assert delta.low == pytest.approx(0.026, abs=1e-3)
    assert delta.high == pytest.approx(0.507, abs=1e-3)


def test_wilsons_interval_gives_the_published_values() -> None:
    # Newcombe, Stat Med 17:857 (1998), table I, method 3
    for count, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
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


def _random_table(seed: int) -> PairedTable:
    counts = np.random.default_rng(seed).integers(1, 40, 4)
    return PairedTable(*map(int, counts))

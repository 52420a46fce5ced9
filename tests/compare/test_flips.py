"""What a candidate keeps and breaks, against published values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from compare.flips import correctness_kappa, flips, relative_flip_rate
from compare.intervals import PairedTable, share

COUNTS = st.integers(0, 300)
TABLES = st.builds(PairedTable, COUNTS, COUNTS, COUNTS, COUNTS)


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
    result = flips(PairedTable(both_right=2900, broken=500, fixed=800, both_wrong=5800))

    assert result.backward_trust == share(2900, 3400)
    assert result.error_compatibility == share(5800, 6600)
    assert result.excess_churn == pytest.approx(0.1)
    assert result.relative_flip_rate == pytest.approx(500 * 10_000 / (3400 * 6300))


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
    result = flips(table)

    assert result.backward_trust.value == pytest.approx(trust)
    assert result.error_compatibility.value == pytest.approx(error)


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
    result = flips(table)

    baseline_right = table.both_right + table.broken
    assert (result.backward_trust.value is None) == (baseline_right == 0)
    assert (result.excess_churn is None) == (table.images == 0)
    if result.kappa is not None:
        assert -1 - 1e-12 <= result.kappa <= 1 + 1e-12
    if table.images:
        churn = (table.broken + table.fixed) / table.images
        forced = abs(table.fixed - table.broken) / table.images
        assert result.excess_churn == pytest.approx(churn - forced)


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
    assert flips(table).kappa is None
    assert flips(table).relative_flip_rate is None

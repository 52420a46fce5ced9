"""First answers and being right: tables, ranks, kappa."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from compare.agreement import TopFive, agreement_kappa, paired_table


def test_ranks_count_from_one_and_zero_is_not_among_the_five() -> None:
    top = TopFive(np.array([[3, 1, 0, 2, 4], [0, 1, 2, 3, 4]]), np.zeros((2, 5)))

    assert top.ranks(np.array([1, 9])).tolist() == [2, 0]


def test_the_table_names_flips_from_the_baselines_side() -> None:
    baseline = np.array([True, True, True, False, False, False])
    candidate = np.array([True, False, False, True, False, False])

    table = paired_table(baseline=baseline, candidate=candidate)

    assert (table.both_right, table.broken, table.fixed, table.both_wrong) == (
        1,
        2,
        1,
        2,
    )
    assert table.images == 6


# Two dermatologists on 88 patients: SAS/STAT, "The FREQ Procedure: Agreement Study",
# simple kappa 0.3449. Two raters of 100: Fleiss, "Statistical Methods for Rates and
# Proportions" (1981), page 213, kappa 0.68.
SKIN = [[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]]
PSYCHIATRY = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]


@pytest.mark.parametrize(("table", "kappa"), [(SKIN, 0.3449), (PSYCHIATRY, 0.6765)])
def test_kappa_is_the_published_one(table: list[list[int]], kappa: float) -> None:
    rows, columns = np.indices(np.array(table).shape)
    counts = np.array(table).ravel()

    agreement = agreement_kappa(
        baseline=np.repeat(rows.ravel(), counts),
        candidate=np.repeat(columns.ravel(), counts),
    )

    assert agreement == pytest.approx(kappa, abs=5e-5)


def test_kappa_is_scikit_learns_whatever_the_classes_are_called() -> None:
    rng = np.random.default_rng(0)
    baseline = rng.choice([3, 77, 150, 199], 500)
    candidate = np.where(
        rng.uniform(size=500) < 0.6, baseline, rng.permutation(baseline)
    )

    kappa = agreement_kappa(baseline=baseline, candidate=candidate)

    assert kappa == pytest.approx(cohen_kappa_score(baseline, candidate))
    assert agreement_kappa(baseline=baseline, candidate=baseline) == 1


def test_where_chance_agrees_always_there_is_no_kappa() -> None:
    one = np.array([5, 5, 5])

    assert agreement_kappa(baseline=one, candidate=one) is None
    assert agreement_kappa(baseline=one[:0], candidate=one[:0]) is None
    assert agreement_kappa(baseline=one, candidate=one + 1) == 0


def test_a_truth_that_is_not_known_is_nowhere() -> None:
    top = TopFive(np.array([[1, 0, -1, -1, -1]]), np.array([[0.6, 0.4] + [np.nan] * 3]))

    assert top.ranks(np.array([-1])).tolist() == [0]

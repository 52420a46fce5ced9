"""First answers and being right: tables, ranks, kappa."""

import numpy as np

from compare.agreement import TopFive, paired_table


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

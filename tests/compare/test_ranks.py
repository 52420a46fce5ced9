"""Where the truth stands among five answers, against published values."""

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.metrics import label_ranking_average_precision_score
from statsmodels.stats.contingency_tables import SquareTable

from compare.ranks import (
    mean_reciprocal_rank,
    rank_symmetry,
    rank_transitions,
    reciprocal_ranks,
)

# Unaided vision of the right and left eye of 7,477 women: Stuart, Biometrika 42:412
# (1955), in many books; Bowker's statistic is 19.1 with 6 degrees of freedom (Agresti,
# "Categorical Data Analysis", chapter on matched pairs).
VISION = [
    [1520, 266, 124, 66],
    [234, 1512, 432, 78],
    [117, 362, 1772, 205],
    [36, 82, 179, 492],
]
# A table of statsmodels' own tests, for which R's mcnemar.test gives 5.355988, 10
# degrees of freedom, p = 0.8661652.
OF_R = [[1, 4, 5, 5, 3], [5, 2, 3, 5, 4], [6, 4, 1, 1, 3], [3, 4, 1, 1, 2], [6] * 5]


def test_rank_transitions_have_the_baseline_in_rows() -> None:
    table = rank_transitions(
        baseline=np.array([1, 1, 0, 5]), candidate=np.array([2, 1, 1, 0])
    )

    assert table[0][:2] == [1, 1]
    assert table[5][0] == 1
    assert table[4][5] == 1
    assert sum(map(sum, table)) == 4


@pytest.mark.parametrize(
    ("table", "statistic", "degrees", "p"),
    [(VISION, 19.107, 6, 0.0039874), (OF_R, 5.355988, 10, 0.8661652)],
)
def test_bowkers_test_gives_the_published_values(
    table: list[list[int]], statistic: float, degrees: int, p: float
) -> None:
    symmetry = rank_symmetry(table)

    assert symmetry.statistic == pytest.approx(statistic, rel=3e-5)
    assert symmetry.degrees_of_freedom == degrees
    assert symmetry.p == pytest.approx(p, rel=1e-4)


def test_pairs_of_empty_cells_are_no_degrees_of_freedom() -> None:
    emptied = np.array(OF_R)
    emptied[2, 3] = emptied[3, 2] = 0

    symmetry = rank_symmetry(emptied.tolist())

    whole = SquareTable(emptied, shift_zeros=False).symmetry()
    assert symmetry.statistic == pytest.approx(whole.statistic)
    assert symmetry.degrees_of_freedom == 9
    assert symmetry.p == pytest.approx(chi2.sf(whole.statistic, 9))


def test_where_no_rank_moves_there_is_no_test() -> None:
    symmetry = rank_symmetry(np.diag([5, 4, 3, 2, 1, 0]).tolist())

    assert (symmetry.statistic, symmetry.degrees_of_freedom, symmetry.p) == (None,) * 3


def test_the_mean_reciprocal_rank_is_the_published_one() -> None:
    # https://en.wikipedia.org/wiki/Mean_reciprocal_rank: third, second and first
    assert mean_reciprocal_rank(np.array([3, 2, 1])) == pytest.approx(11 / 18)
    assert mean_reciprocal_rank(np.array([], int)) is None


def test_the_mean_reciprocal_rank_is_scikit_learns_ranking_precision() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(500, 5))
    targets = rng.integers(0, 5, 500)
    order = np.argsort(-scores, axis=1)
    ranks = np.argmax(order == targets[:, None], axis=1) + 1

    # With one right label an image, its average precision is 1 / rank.
    expected = label_ranking_average_precision_score(np.eye(5)[targets], scores)

    assert mean_reciprocal_rank(ranks) == pytest.approx(expected)


def test_a_truth_beyond_the_five_counts_for_nothing() -> None:
    assert reciprocal_ranks(np.array([0, 1, 5])).tolist() == [0.0, 1.0, 0.2]

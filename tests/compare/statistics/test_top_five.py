"""Two lists of answers beside each other, against published values."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2
from sklearn.metrics import cohen_kappa_score, label_ranking_average_precision_score
from statsmodels.stats.contingency_tables import SquareTable

from compare.statistics.top_five import (
    TopFive,
    agreement_kappa,
    jensen_shannon_lower_bound,
    mean_reciprocal_rank,
    paired_table,
    rank_biased_overlap,
    rank_symmetry,
    rank_transitions,
    reciprocal_ranks,
    shared_share,
)


def _lists(*answers: Sequence[int]) -> TopFive:
    indices = np.array(answers)
    return TopFive(indices, np.full(indices.shape, 0.1))


def _distribution(probabilities: Sequence[float], width: int = 5) -> TopFive:
    """All classes of a small vocabulary, likeliest first, and nothing beyond."""
    order = np.argsort(-np.array(probabilities), kind="stable")
    indices, values = np.full((1, width), -1), np.full((1, width), np.nan)
    indices[0, : len(order)] = order
    values[0, : len(order)] = np.array(probabilities)[order]
    return TopFive(indices, values)


@pytest.mark.parametrize(
    ("one", "other", "persistence", "published"),
    [
        # README of github.com/b4ny4n/rankmeasures, after R. Agrawal's implementation
        ([1, 2, 3, 4, 5], [2, 3, 4, 1, 5], 0.9, 0.828),
        # doctest of D. Lukeš' rbo.py: "abcdefg" and "bacdefg"
        ([0, 1, 2, 3, 4, 5, 6], [1, 0, 2, 3, 4, 5, 6], 0.9, 0.900),
        ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], 0.8, 0.0),
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], 0.8, 1.0),
    ],
)
def test_rank_biased_overlap_is_the_published_one(
    one: list[int], other: list[int], persistence: float, published: float
) -> None:
    (overlap,) = rank_biased_overlap(
        _lists(one), _lists(other), persistence=persistence
    )

    assert overlap == pytest.approx(published, abs=5e-4)


def test_the_first_places_weigh_most() -> None:
    first = rank_biased_overlap(_lists([0, 1, 2, 3, 4]), _lists([1, 0, 2, 3, 4]))
    last = rank_biased_overlap(_lists([0, 1, 2, 3, 4]), _lists([0, 1, 2, 4, 3]))

    assert first[0] == pytest.approx(0.8)
    assert last[0] > 0.9


def test_the_shared_share_is_of_the_answers_that_there_are() -> None:
    a = _lists([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    b = _lists([4, 3, 9, 8, 7], [1, 2, 3, 4, 0])

    assert shared_share(a, b).tolist() == [0.4, 1.0]
    three = _lists([0, 1, 2, -1, -1])
    assert shared_share(three, _lists([2, 1, 0, -1, -1])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("p", "q", "bits"),
    [
        # scipy's documentation of jensenshannon: distances in nats, and in bits
        ([1.0, 0.0], [0.5, 0.5], 0.46450140402245893**2 / np.log(2)),
        ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], 1.0),
        # J. Brownlee, "How to Calculate the KL Divergence for Machine Learning" (2019)
        ([0.10, 0.40, 0.50], [0.80, 0.15, 0.05], 0.420),
    ],
)
def test_between_whole_distributions_the_bound_is_the_published_divergence(
    p: list[float], q: list[float], bits: float
) -> None:
    (bound,) = jensen_shannon_lower_bound(_distribution(p), _distribution(q))

    assert bound == pytest.approx(bits, abs=5e-4)


POSITIVE = st.lists(st.floats(1e-6, 1.0), min_size=12, max_size=12)


@given(POSITIVE, POSITIVE)
def test_the_bound_is_never_above_scipys_divergence_of_all_classes(
    p_weights: list[float], q_weights: list[float]
) -> None:
    p, q = (np.array(w) / np.sum(w) for w in (p_weights, q_weights))
    a, b = (_distribution(d.tolist(), 12) for d in (p, q))
    a, b = (TopFive(t.indices[:, :5], t.probabilities[:, :5]) for t in (a, b))

    (bound,) = jensen_shannon_lower_bound(a, b)

    # scipy's own is NaN where rounding takes a sum below 0
    whole = np.nan_to_num(jensenshannon(p, q, base=2)) ** 2
    assert 0 <= bound <= whole + 1e-7


def test_a_version_is_no_distance_from_itself() -> None:
    rng = np.random.default_rng(0)
    indices = np.array([rng.permutation(200)[:5] for _ in range(1_000)])
    probabilities = -np.sort(-rng.dirichlet(np.full(8, 0.3), 1_000), axis=1)[:, :5]
    top = TopFive(indices, probabilities)

    assert jensen_shannon_lower_bound(top, top).max() == 0
    assert rank_biased_overlap(top, top) == pytest.approx(1)
    assert shared_share(top, top).min() == 1


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

"""Two lists of answers beside each other, against published values."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from compare.agreement import TopFive
from compare.overlap import (
    jensen_shannon_lower_bound,
    rank_biased_overlap,
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

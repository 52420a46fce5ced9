"""Softmax, top-k, the rank of the target, and the likeness of logits."""

import numpy as np
import pytest

from classifier.metrics import likeness, rank_of_target, softmax, top_k


def test_softmax_rows_sum_to_one_also_for_huge_logits() -> None:
    probabilities = softmax(np.array([[1000.0, 0.0, -1000.0], [1, 2, 3]], np.float32))

    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    # e^i / (e^1 + e^2 + e^3)
    np.testing.assert_allclose(
        probabilities[1], [0.0900306, 0.2447285, 0.6652410], 1e-6
    )


def test_equal_probabilities_are_ordered_by_smaller_index() -> None:
    top = top_k(np.array([[0.1, 0.3, 0.3, 0.3]]), 3)

    assert top.tolist() == [[1, 2, 3]]


def test_top_k_gives_all_classes_if_there_are_fewer_than_k() -> None:
    assert top_k(np.array([[0.2, 0.8]]), 5).tolist() == [[1, 0]]


def test_rank_counts_from_one_and_is_zero_if_the_target_is_absent() -> None:
    top = np.array([[4, 2, 0], [1, 3, 2]])

    assert rank_of_target(top, np.array([2, 0])).tolist() == [2, 0]


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_the_top_five_are_those_of_a_sort_of_the_whole_row(levels: int) -> None:
    """Few levels: nearly every row has equals at the fifth place."""
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.integers(0, levels, (100, 48)).astype(np.float32))

    expected = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(top_k(probabilities, 5), expected)


def test_logits_are_alike_within_rounding_and_where_a_first_answer_was_a_tie() -> None:
    expected = np.array([[3.0, 1.0], [2.0, 2.0]], np.float32)

    rounding = np.array([[1e-5, -1e-5], [-1e-5, 1e-5]], np.float32)

    same = likeness(expected + rounding, expected)
    assert same.is_alike
    assert same.difference == pytest.approx(1e-5, rel=0.1)
    assert same.lost == 0
    assert same.allowed == pytest.approx(3e-4)

    assert not likeness(expected + 1e-3, expected).is_alike
    swapped = likeness(expected[:, ::-1], expected)
    assert (swapped.lost, swapped.is_alike) == (2, False)
    assert not likeness(expected * np.float32(np.nan), expected).is_alike

"""Joining truth and answers."""

import numpy as np
import pytest

from compare.collect.answer_store import PairOfAnswers
from compare.collect.schema import NoAnswer, TopAnswer
from compare.results.comparison import (
    UNKNOWN,
    NotComparable,
    align,
    check_classes,
    check_coverage,
)
from tests.compare.conftest import CLASSES, served

FIVE = (0.5, 0.2, 0.1, 0.05, 0.01)


def _pair(a: tuple[int, ...], b: tuple[int, ...]) -> PairOfAnswers:
    return (TopAnswer(a, FIVE), TopAnswer(b, FIVE))


def test_truth_is_joined_by_name_and_class_id_never_by_order() -> None:
    answers = {
        "y.png": _pair((1, 2, 3, 4, 5), (2, 1, 3, 4, 5)),
        "x.png": _pair((0, 2, 3, 4, 5), (0, 1, 3, 4, 5)),
    }

    joined = align(
        ["x.png", "y.png"], ["n0", "n1"], answers, a=served("1"), b=served("2")
    )

    assert joined.targets.tolist() == [0, 1]
    assert joined.a_ranks.tolist() == [1, 1]
    assert joined.b_ranks.tolist() == [1, 2]
    assert joined.categories() == ["both_right", "broken"]


def test_a_version_with_its_classes_in_another_order_is_translated() -> None:
    reversed_ids = tuple(f"n{i}" for i in reversed(range(CLASSES)))
    b = served("2", reversed_ids)
    answers = {"x": _pair((0, 1, 2, 3, 4), (7, 6, 5, 4, 3))}

    check_classes(["n0"], served("1"), b)
    joined = align(["x"], ["n0"], answers, a=served("1"), b=b)

    np.testing.assert_array_equal(joined.a.indices, joined.b.indices)
    assert joined.categories() == ["both_right"]


def test_every_image_has_one_category() -> None:
    answers = {
        "right": _pair((0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
        "broken": _pair((0, 1, 2, 3, 4), (1, 0, 2, 3, 4)),
        "fixed": _pair((1, 0, 2, 3, 4), (0, 1, 2, 3, 4)),
        "same": _pair((1, 0, 2, 3, 4), (1, 0, 2, 3, 4)),
        "different": _pair((1, 0, 2, 3, 4), (2, 0, 1, 3, 4)),
    }

    joined = align(list(answers), ["n0"] * 5, answers, a=served("1"), b=served("2"))

    assert joined.categories() == [
        "both_right",
        "broken",
        "fixed",
        "both_wrong_same",
        "both_wrong_different",
    ]


def test_an_image_without_an_answer_is_missing_and_never_broken() -> None:
    lost = (TopAnswer((0, 1, 2, 3, 4), FIVE), NoAnswer("timeout", "late"))
    answers = {"x": lost, "y": _pair((0, 1, 2, 3, 4), (0, 1, 2, 3, 4))}

    joined = align(["x", "y", "z"], ["n0"] * 3, answers, a=served("1"), b=served("2"))

    assert joined.names == ("y",)
    assert joined.missing == {"x": "v2: timeout, late", "z": "not answered"}
    assert joined.categories() == ["both_right"]


def test_other_classes_are_not_comparable() -> None:
    b = served("2", tuple(f"n{i}" for i in range(1, CLASSES + 1)))

    with pytest.raises(NotComparable, match="n0 in v1 alone, n8 in v2 alone"):
        check_classes(["n1"], served("1"), b)
    with pytest.raises(NotComparable, match=r"do not know 1 .* classes: n99"):
        check_classes(["n1", "n99"], served("1"), served("2"))


def test_a_class_in_another_unicode_form_is_told_as_such() -> None:
    version = served("1", ("caf\u00e9",))

    with pytest.raises(
        NotComparable, match=r"'cafe\\u0301' and 'caf\\xe9', and differ"
    ):
        check_classes(["cafe\u0301"], version, version)


def test_without_labels_answers_are_the_same_or_different() -> None:
    answers = {
        "x": _pair((0, 1, 2, 3, 4), (0, 1, 2, 4, 3)),
        "y": _pair((0, 1, 2, 3, 4), (1, 0, 2, 3, 4)),
    }

    joined = align(["x", "y"], None, answers, a=served("1"), b=served("2"))

    assert not joined.labelled
    assert joined.categories() == ["same", "different"]
    assert joined.targets.tolist() == [UNKNOWN, UNKNOWN]
    assert joined.a_ranks.tolist() == joined.b_ranks.tolist() == [0, 0]


def test_more_missing_images_than_allowed_are_not_comparable() -> None:
    answers = {"x": _pair((0, 1, 2, 3, 4), (0, 1, 2, 3, 4))}
    joined = align(["x", "y"], ["n0"] * 2, answers, a=served("1"), b=served("2"))

    check_coverage(joined, allow_missing=1)
    with pytest.raises(
        NotComparable, match=r"1 of 2 images .* such as y: not answered"
    ):
        check_coverage(joined, allow_missing=0)

"""Joining truth and answers."""

import numpy as np
import pytest

from classifier.bundle.labels import BadClassMap
from compare.collect.answer_store import PairOfAnswers
from compare.collect.schema import NoAnswer, TopAnswer
from compare.report.draw import check_record
from compare.results.comparison import (
    UNKNOWN,
    NotComparable,
    align,
    check_classes,
    check_coverage,
    describe_left_out,
    join_classes,
)
from compare.results.record import Record
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


def test_classes_that_one_version_lacks_come_after_the_baselines() -> None:
    b = served("2", ("n8", "n1", "n2"))
    pair = _pair((1, 2, 3, 4, 5), (2, 1, 0, 3, 4))
    of_b = (TopAnswer((0, 1, 2), FIVE[:3]), TopAnswer((2, 0, 1), FIVE[:3]))
    answers = {"x": (pair[0], of_b[0]), "y": (pair[1], of_b[1])}

    joined = align(["x", "y"], ["n1", "n2"], answers, a=served("1"), b=b)

    assert joined.labels.ids == (*served("1").labels.ids, "n8")
    assert joined.b.indices[0].tolist() == [CLASSES, 1, 2, -1, -1]
    assert joined.categories() == ["broken", "both_right"]
    both = join_classes(served("1"), b)
    assert [id_ for id_ in joined.labels.ids if both.compares(id_)] == ["n1", "n2"]
    left_out = {"n0": 3, "n8": 1, "elk": 2}
    assert describe_left_out(left_out, served("1"), b) == (
        "3 images are left out, of 1 class that v2 does not have (n0); "
        "1 image is left out, of 1 class that v1 does not have (n8); "
        "2 images are left out, of 1 class that neither version has (elk)"
    )


def test_the_map_joins_the_classes_that_ids_do_not() -> None:
    a, b = served("1", ("0", "1", "cat")), served("2", ("0", "r1", "chat"))

    both = join_classes(a, b, [("1", "r1"), ("cat", "chat")])

    assert both.labels.ids == ("0", "1", "cat")
    assert both.b_index == (0, 1, 2)
    assert both.index_of["r1"] == 1


def test_a_kept_map_that_contradicts_the_ids_is_not_drawn_again() -> None:
    kept = Record(
        a=served("1", ("0", "1")),
        b=served("2", ("0", "1")),
        data_name="digits",
        data_digest="x",
        names=("x.png",),
        class_ids=("0",),
        class_map=(("0", "1"),),
        available=1,
    )

    with pytest.raises(BadClassMap, match="its line 0,1"):
        check_record(kept)


def test_other_classes_are_not_comparable() -> None:
    b = served("2", ("cat", "dog"))

    with pytest.raises(NotComparable, match=r"v1 and v2 have no class in common: n0, "):
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

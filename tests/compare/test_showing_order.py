"""The most telling images come first."""

from compare.comparison import Comparison, align
from compare.label_suspects import label_suspects
from compare.showing_order import showing_order
from tests.compare.conftest import made_up_answers, made_up_comparison, served


def test_every_image_has_one_place(comparison: Comparison) -> None:
    order = showing_order(comparison).tolist()

    assert sorted(order) == list(range(len(comparison.names)))


def test_label_suspects_then_broken_then_fixed_images_come_first(
    comparison: Comparison,
) -> None:
    categories = comparison.categories()
    suspects = {suspect.row for suspect in label_suspects(comparison)}

    order = showing_order(comparison).tolist()

    assert set(order[: len(suspects)]) == suspects
    rest = [categories[row] for row in order[len(suspects) :]]
    broken, fixed = rest.count("broken"), rest.count("fixed")
    assert set(rest[:broken]) == {"broken"}
    assert set(rest[broken : broken + fixed]) == {"fixed"}


def test_within_broken_images_the_largest_change_of_confidence_comes_first(
    comparison: Comparison,
) -> None:
    change = abs(comparison.b.probabilities[:, 0] - comparison.a.probabilities[:, 0])
    categories = comparison.categories()
    order = showing_order(comparison).tolist()

    broken = [change[row] for row in order if categories[row] == "broken"]

    assert broken == sorted(broken, reverse=True)


def test_without_labels_disagreements_come_first() -> None:
    names = list(made_up_answers(50))
    unlabelled = align(names, None, made_up_answers(50), a=served("8"), b=served("16"))

    differs = unlabelled.disagrees[showing_order(unlabelled)].tolist()

    assert differs == sorted(differs, reverse=True)


def test_no_images_have_no_order() -> None:
    assert showing_order(made_up_comparison(0)).tolist() == []

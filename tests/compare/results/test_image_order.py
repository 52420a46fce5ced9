"""Images whose label may be wrong."""

from compare.collect.answer_store import PairOfAnswers
from compare.collect.schema import TopAnswer
from compare.results.comparison import Comparison, align
from compare.results.image_order import showing_order, suspect_rows
from compare.results.verdict import judge
from tests.compare.conftest import DATA, made_up_answers, made_up_comparison, served


def _pair(a: int, a_confidence: float, b: int, b_confidence: float) -> PairOfAnswers:
    def answer(first: int, confidence: float) -> TopAnswer:
        others = tuple(i for i in range(8) if i != first)[:4]
        return TopAnswer((first, *others), (confidence, *([(1 - confidence) / 7] * 4)))

    return (answer(a, a_confidence), answer(b, b_confidence))


def test_both_versions_must_be_sure_of_the_same_wrong_label() -> None:
    answers = {
        "sure": _pair(1, 0.9, 1, 0.7),
        "surest": _pair(2, 0.8, 2, 0.99),
        "right": _pair(0, 0.99, 0, 0.99),
        "two minds": _pair(1, 0.9, 2, 0.9),
        "one unsure": _pair(1, 0.9, 1, 0.5),
    }
    joined = align(list(answers), ["n0"] * 5, answers, a=served("8"), b=served("16"))

    assert [joined.names[row] for row in suspect_rows(joined)] == ["surest", "sure"]
    verdict = judge(joined, a=served("8"), b=served("16"), gates=(), data=DATA)
    suspects = verdict.summary.label_suspects or ()
    assert [entry.image for entry in suspects] == ["surest", "sure"]
    assert [entry.answer_id for entry in suspects] == ["n2", "n1"]
    assert [entry.target_id for entry in suspects] == ["n0", "n0"]
    assert (suspects[1].a_probability, suspects[1].b_probability) == (0.9, 0.7)


def test_at_most_twenty_are_listed() -> None:
    answers = {f"{n:02}": _pair(1, 0.9, 1, 0.6 + n / 100) for n in range(30)}
    joined = align(list(answers), ["n0"] * 30, answers, a=served("8"), b=served("16"))

    assert suspect_rows(joined).tolist() == list(range(29, 9, -1))


def test_every_image_has_one_place(comparison: Comparison) -> None:
    order = showing_order(comparison).tolist()

    assert sorted(order) == list(range(len(comparison.names)))


def test_label_suspects_then_broken_then_fixed_images_come_first(
    comparison: Comparison,
) -> None:
    categories = comparison.categories()
    suspects = set(suspect_rows(comparison).tolist())

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

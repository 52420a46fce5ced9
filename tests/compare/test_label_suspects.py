"""Images whose label may be wrong."""

from compare.answers import PairOfAnswers
from compare.comparison import align
from compare.contract import TopAnswer
from compare.label_suspects import label_suspects
from tests.compare.conftest import served


def _pair(a: int, a_confidence: float, b: int, b_confidence: float) -> PairOfAnswers:
    def answer(first: int, confidence: float) -> TopAnswer:
        others = tuple(i for i in range(8) if i != first)[:4]
        return TopAnswer((first, *others), (confidence, *([(1 - confidence) / 7] * 4)))

    return PairOfAnswers(answer(a, a_confidence), answer(b, b_confidence))


def test_both_versions_must_be_sure_of_the_same_wrong_label() -> None:
    answers = {
        "sure": _pair(1, 0.9, 1, 0.7),
        "surest": _pair(2, 0.8, 2, 0.99),
        "right": _pair(0, 0.99, 0, 0.99),
        "two minds": _pair(1, 0.9, 2, 0.9),
        "one unsure": _pair(1, 0.9, 1, 0.5),
    }
    joined = align(list(answers), ["n0"] * 5, answers, a=served("8"), b=served("16"))

    suspects = label_suspects(joined)

    assert [joined.names[s.row] for s in suspects] == ["surest", "sure"]
    assert [s.answer for s in suspects] == [2, 1]
    assert (suspects[1].a_probability, suspects[1].b_probability) == (0.9, 0.7)


def test_at_most_twenty_are_listed() -> None:
    answers = {f"{n:02}": _pair(1, 0.9, 1, 0.6 + n / 100) for n in range(30)}
    joined = align(list(answers), ["n0"] * 30, answers, a=served("8"), b=served("16"))

    suspects = label_suspects(joined)

    assert [s.row for s in suspects] == list(range(29, 9, -1))

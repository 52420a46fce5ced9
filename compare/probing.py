"""Whether a service gives the same answer when it is asked the same again."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from compare.answers import PairOfAnswers
from compare.contract import Answer, NoAnswer, ServedVersion, TopAnswer
from compare.images import Images
from compare.responses import ServiceUnavailable

PROBED = 100

TOLERANCE = 1e-3
"""Of a probability. Who shares a batch changes the last digits, by up to 1e-5 on a CPU
and more where a GPU computes in bf16; another answer differs by more than that."""

T = TypeVar("T")

Ask = Callable[
    [Sequence[tuple[str, bytes]], Sequence[ServedVersion]], list[tuple[Answer, ...]]
]
"""For each (name, file's bytes) the answer of each version, as Service.ask()."""


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of them, evenly from first to last: the same at each call."""
    if len(items) <= count:
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def count_differing(
    ask: Ask,
    images: Images,
    answered: Mapping[str, PairOfAnswers],
    *,
    again: Mapping[str, PairOfAnswers],
    a: ServedVersion,
    b: ServedVersion,
    batch_size: int,
) -> tuple[int, int]:
    """How many images were asked twice, and how many got another answer then.

    `answered` are the first answers, which the comparison rests on, and `again` second
    ones that are there already; the others are asked for. ServiceUnavailable where one
    fails that may succeed another time.
    """
    probed = spread(
        [place for place, name in enumerate(images.names) if name in answered], PROBED
    )
    asked = [place for place in probed if images.names[place] not in again]
    versions = [a] if a.number == b.number else [a, b]
    second = dict(again)
    for start in range(0, len(asked), batch_size):
        places = asked[start : start + batch_size]
        batch = [(images.names[p], images.files[p].read_bytes()) for p in places]
        for (name, _), answers in zip(batch, ask(batch, versions), strict=True):
            for answer in answers:
                if isinstance(answer, NoAnswer) and not answer.is_final:
                    raise ServiceUnavailable(
                        f"{name} was answered, and now fails: {answer.message}; try "
                        "again later, answers are kept"
                    )
            second[name] = PairOfAnswers(answers[0], answers[-1])
    names = [images.names[place] for place in probed]
    same = [
        _agree(answered[name].a, second[name].a)
        and _agree(answered[name].b, second[name].b)
        for name in names
    ]
    return len(names), same.count(False)


def _agree(first: Answer, second: Answer) -> bool:
    if not (isinstance(first, TopAnswer) and isinstance(second, TopAnswer)):
        return type(first) is type(second)
    if len(first.indices) != len(second.indices):
        return False
    # Likely classes must be in both lists; which one comes last may be a matter of
    # digits.
    return all(
        abs(p - q) <= TOLERANCE
        for p, q in zip(first.probabilities, second.probabilities, strict=True)
    ) and all(
        abs(p - _probability(second, index)) <= TOLERANCE
        for index, p in zip(first.indices, first.probabilities, strict=True)
    )


def _probability(answer: TopAnswer, index: int) -> float:
    """Of a class that is not listed, the most that it can have."""
    if index in answer.indices:
        return answer.probabilities[answer.indices.index(index)]
    return answer.probabilities[-1]

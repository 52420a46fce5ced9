"""Repeated requests: does the service repeat its answers, and how fast is it?"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from compare.collect.answer_store import PairOfAnswers, is_final
from compare.collect.client import ServiceUnavailable
from compare.collect.collector import Source
from compare.collect.images import Images
from compare.collect.schema import Answer, NoAnswer, ServedVersion, TopAnswer
from compare.statistics.measure import Estimate

PROBED = 100

TOLERANCE = 1e-3
"""Largest difference of a probability between equal answers. The other images of a
batch change the last digits, by up to 1e-5 on a CPU and more on a GPU in bf16."""

T = TypeVar("T")

Predict = Callable[
    [Sequence[tuple[str, bytes]], Sequence[ServedVersion]], list[tuple[Answer, ...]]
]
"""For each (name, file's bytes) the answer of each version, as Service.predict()."""


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, evenly spaced, the same at each call."""
    if len(items) <= count:
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def count_differing(
    predict: Predict,
    images: Images,
    answered: Mapping[str, PairOfAnswers],
    *,
    again: Mapping[str, PairOfAnswers],
    a: ServedVersion,
    b: ServedVersion,
    batch_size: int,
) -> tuple[int, int]:
    """How many images were asked twice, and how many got another answer.

    `answered` has the first answers, on which the comparison rests. `again` has second
    answers that are known already; the others are asked for. Raises ServiceUnavailable
    if an image fails that may succeed another time.
    """
    probed = spread(
        [place for place, name in enumerate(images.names) if name in answered], PROBED
    )
    pending = [place for place in probed if images.names[place] not in again]
    versions = [a] if a.key == b.key else [a, b]
    second = dict(again)
    for start in range(0, len(pending), batch_size):
        places = pending[start : start + batch_size]
        batch = [(images.names[p], images.files[p].read_bytes()) for p in places]
        for (name, _), answers in zip(batch, predict(batch, versions), strict=True):
            for answer in answers:
                if isinstance(answer, NoAnswer) and not answer.is_final:
                    raise ServiceUnavailable(
                        f"{name} was answered, and now fails: {answer.message}; try "
                        "again later, answers are kept"
                    )
            second[name] = (answers[0], answers[-1])
    names = [images.names[place] for place in probed]
    same = [all(map(_agree, answered[name], second[name])) for name in names]
    return len(names), same.count(False)


def _agree(first: Answer, second: Answer) -> bool:
    if not (isinstance(first, TopAnswer) and isinstance(second, TopAnswer)):
        return type(first) is type(second)
    if len(first.indices) != len(second.indices):
        return False
    # Likely classes must be in both lists. The last of the list may differ by rounding.
    return all(
        abs(p - q) <= TOLERANCE
        for p, q in zip(first.probabilities, second.probabilities, strict=True)
    ) and all(
        abs(p - _probability(second, index)) <= TOLERANCE
        for index, p in zip(first.indices, first.probabilities, strict=True)
    )


def _probability(answer: TopAnswer, index: int) -> float:
    """The class's probability; if it is not listed, the most that it can be."""
    if index in answer.indices:
        return answer.probabilities[answer.indices.index(index)]
    return answer.probabilities[-1]


REQUESTS = 200
LONGEST_SECONDS = 5.0
"""A slow service gets fewer requests."""

RESAMPLES = 2000
FEWEST = 2


@dataclass(frozen=True)
class Timed:
    """Latency of single requests, and their answers."""

    facts: Mapping[str, Any]
    """`latency` of run.json; null with a note if the service failed."""

    answers: Mapping[str, PairOfAnswers]
    """Second answers by image, for count_differing()."""


def measure_latency(
    service: Source, images: Images, a: ServedVersion, b: ServedVersion
) -> Timed:
    """Time single requests for images from all over the data.

    `service` should have little patience: a request that was retried does not count.
    """
    places = spread(range(len(images)), REQUESTS)
    if not places:
        return _unmeasured("no image is answered", {})
    times_ms: list[tuple[float, float]] = []
    answers: dict[str, PairOfAnswers] = {}
    try:
        _predict_in_turn(service, images, places[0], a, b)  # opens the connection
        end = time.monotonic() + LONGEST_SECONDS
        for number in range(REQUESTS):
            if time.monotonic() > end:
                break
            place, before = places[number % len(places)], service.retries
            pair, times = _predict_in_turn(service, images, place, a, b)
            if is_final(pair):
                answers[images.names[place]] = pair
            if service.retries == before:
                times_ms.append(times)
    except (ServiceUnavailable, OSError) as error:
        return _unmeasured(str(error), answers)
    if len(times_ms) < FEWEST:
        return _unmeasured("the service was busy", answers)
    return Timed({"latency": _described(np.array(times_ms))}, answers)


def _unmeasured(why: str, answers: Mapping[str, PairOfAnswers]) -> Timed:
    facts = {"latency": None, "latency_note": f"not measured: {why}"}
    return Timed(facts, answers)


def _predict_in_turn(
    service: Source, images: Images, place: int, a: ServedVersion, b: ServedVersion
) -> tuple[PairOfAnswers, tuple[float, float]]:
    """Both answers, and the milliseconds of each."""
    image = (images.names[place], images.files[place].read_bytes())
    started = time.perf_counter()
    (of_a,) = service.predict([image], [a])
    between = time.perf_counter()
    (of_b,) = service.predict([image], [b])
    ended = time.perf_counter()
    times_ms = 1000 * (between - started), 1000 * (ended - between)
    return (of_a[0], of_b[0]), times_ms


def _described(times_ms: NDArray[np.float64]) -> dict[str, Any]:
    """`latency` of run.json from `times_ms` [N, 2]: a's and b's time of each image."""
    low, high = _interval(times_ms)
    a_median, b_median = np.median(times_ms, axis=0)
    return {
        "a": _one(times_ms[:, 0]),
        "b": _one(times_ms[:, 1]),
        "median_difference_ms": asdict(Estimate(float(b_median - a_median), low, high)),
    }


def _one(times_ms: NDArray[np.float64]) -> dict[str, Any]:
    p50, p95 = np.quantile(times_ms, (0.5, 0.95))
    return {
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "requests": len(times_ms),
        "samples_ms": times_ms.round(3).tolist(),
    }


def _interval(times_ms: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the difference of medians, by the percentile bootstrap.

    Images are drawn with both their times (Efron and Tibshirani 1993, chapter 13).
    """
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(times_ms), size=(RESAMPLES, len(times_ms)))
    medians = np.median(times_ms[drawn], axis=1)  # [RESAMPLES, 2]
    low, high = np.quantile(medians[:, 1] - medians[:, 0], (0.025, 0.975))
    return float(low), float(high)

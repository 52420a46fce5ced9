"""Rows of the report's tables, and the numbers at its top, for the templates."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from classifier.bundle.labels import Labels
from compare.results.numbers import ConfusionChange, Counts
from compare.results.summary import (
    FieldPath,
    Place,
    Summary,
    five_can_miss,
    places,
    value_at,
)
from compare.results.wording import (
    ABSENT,
    ARROW,
    say,
    say_both,
    say_value,
)
from compare.statistics.classes import ClassChange
from compare.statistics.measure import Estimate, Kind, Measure
from compare.statistics.top_five import TOP


@dataclass(frozen=True)
class Figure:
    """One of the numbers at the top."""

    name: str
    estimate: Estimate
    kind: Kind
    meaning: str
    most: float
    """Right end of its picture, which starts at 0, or at -most for a change."""

    @property
    def least(self) -> float:
        return -self.most if self.kind in ("points", "change") else 0


def figures(summary: Summary) -> list[Figure]:
    """The numbers at the top, with the ends of their pictures."""
    if not summary.data.labelled:
        return _unlabelled_figures(summary)
    a, b, top1, top5 = summary.a, summary.b, summary.top1, summary.top5
    first = say_both(a.top1_accuracy, b.top1_accuracy, "percent")
    five = say_both(a.top5_accuracy, b.top5_accuracy, "percent")
    lost, gained = say(top5.broken, "count"), say(top5.fixed, "count")
    broken = f"{say(top1.broken, 'count')} images: right before, wrong now"
    fixed = f"{say(top1.fixed, 'count')} images: wrong before, right now"
    error, loss = summary.calibration_error_delta, summary.log_loss_delta
    errors = say_both(
        a.expected_calibration_error, b.expected_calibration_error, "percent"
    )
    losses = say_both(a.log_loss, b.log_loss, "number")
    widest = max(reach(top1.delta), reach(top5.delta))
    most = max(reach(top1.negative_flip_rate), reach(top1.positive_flip_rate))
    rows = [
        Figure("Right first answers", top1.delta, "points", first, widest),
        Figure("Broken", top1.negative_flip_rate, "percent", broken, most),
        Figure("Fixed", top1.positive_flip_rate, "percent", fixed, most),
    ]
    if five_can_miss(summary):
        among = f"{five}; lost on {lost}, gained on {gained}"
        rows.append(Figure("Truth among the five", top5.delta, "points", among, widest))
    less = "less is better"
    return [
        *rows,
        Figure("Calibration error", error, "points", f"{errors}; {less}", reach(error)),
        Figure("Log loss", loss, "change", f"{losses}; {less}", reach(loss)),
    ]


def _unlabelled_figures(summary: Summary) -> list[Figure]:
    changed, confidence = summary.changed_first_answers, summary.confidence.delta
    shared = Estimate(summary.overlap.top5)
    rank_biased = Estimate(summary.overlap.rank_biased_overlap)
    kappa = Estimate(summary.agreement_kappa)
    another = "the likeliest class is another"
    mean = "mean change of the first answer's probability"
    same = "1: the same list in the same order"
    chance = "agreement beyond luck; 1 is always"
    return [
        Figure("Changed first answers", changed, "percent", another, 1),
        Figure("Confidence", confidence, "points", mean, reach(confidence)),
        Figure(
            "Shared answers", shared, "percent", "of those that each version gives", 1
        ),
        Figure("Rank-biased overlap", rank_biased, "number", same, 1),
        Figure("Kappa of first answers", kappa, "number", chance, 1),
    ]


def reach(estimate: Estimate) -> float:
    """Length of a picture's axis from 0: a little more than the interval needs."""
    ends = (estimate.value, estimate.low, estimate.high)
    return 1.15 * max((abs(end) for end in ends if end is not None), default=0.0)


TENTHS = tuple(
    f"\N{LESS-THAN OR EQUAL TO}\N{NO-BREAK SPACE}{10 * n}\N{NO-BREAK SPACE}%"
    for n in range(1, 11)
)
"""Names of the tenths of confidence, by their upper ends."""


@dataclass(frozen=True)
class HeatCell:
    """Number of images with one value in the baseline and another in the candidate."""

    count: int
    kind: str
    """up, down or same for the move of the truth; moved or same for confidence."""

    weight: float
    """Strength of its colour, 0..1: a square root, so that few images are visible."""

    filter: str


def rank_rows(summary: Summary) -> list[list[HeatCell]]:
    """Six rows of six; empty if there is no table."""
    return _heat_rows(
        summary.rank_transitions,
        kinds=("down", "up"),
        link=lambda i, j: f"a_rank={(i + 1) % (TOP + 1)}&b_rank={(j + 1) % (TOP + 1)}",
    )


def confidence_rows(summary: Summary) -> list[list[HeatCell]]:
    """Ten rows of ten; empty if there is no table."""
    return _heat_rows(
        summary.confidence.table,
        kinds=("moved", "moved"),
        link=lambda i, j: f"a_tenth={i}&b_tenth={j}",
    )


def _heat_rows(
    table: Counts | None,
    *,
    kinds: tuple[str, str],
    link: Callable[[int, int], str],
) -> list[list[HeatCell]]:
    """`kinds` are the kinds right and left of the diagonal, which has no colour."""
    if not table:
        return []
    moved = [n for i, row in enumerate(table) for j, n in enumerate(row) if i != j]
    most = max(*moved, 1)
    return [
        [
            HeatCell(
                count,
                "same" if i == j else kinds[0] if j > i else kinds[1],
                min(1.0, math.sqrt(count / most)),
                f"show=all&{link(i, j)}",
            )
            for j, count in enumerate(row)
        ]
        for i, row in enumerate(table)
    ]


@dataclass(frozen=True)
class ClassRow:
    index: int
    id: str
    name: str
    images: int
    a: float
    b: float
    broken: int
    fixed: int
    delta: Estimate
    q_value: float
    mark: str
    """worse or better if that is shown, else empty."""


def class_rows(classes: Sequence[ClassChange], labels: Labels) -> list[ClassRow]:
    """Sorted by q; classes of equal q by the size of their change."""
    rows = [_class_row(change, labels) for change in classes]
    rows.sort(key=lambda row: (row.q_value, -abs(row.delta.value or 0)))
    return rows


def _class_row(change: ClassChange, labels: Labels) -> ClassRow:
    table = change.table
    a = (table.both_right + table.broken) / table.images
    b = (table.both_right + table.fixed) / table.images
    mark = "worse" if change.is_regression else ""
    mark = "better" if change.is_improvement else mark
    return ClassRow(
        index=change.index,
        id=labels.ids[change.index],
        name=labels.names[change.index],
        images=table.images,
        a=a,
        b=b,
        broken=table.broken,
        fixed=table.fixed,
        delta=change.delta,
        q_value=change.q_value,
        mark=mark,
    )


def broken_if_unrelated(summary: Summary) -> float | None:
    """The share of images that two versions of these accuracies would break if their
    errors were independent."""
    a, b = summary.a.top1_accuracy, summary.b.top1_accuracy
    return None if a is None or b is None else a * (1 - b)


def confusion_filters(entry: ConfusionChange, labels: Labels) -> Mapping[str, str]:
    """Gallery filters for a confusion's images in the baseline, candidate, either."""
    target = labels.index_of.get(entry.target_id)
    answer = labels.index_of.get(entry.answer_id)
    start = f"show=all&target={target}"
    return {
        "a": f"{start}&a={answer}",
        "b": f"{start}&b={answer}",
        "either": f"{start}&says={answer}",
    }


def slice_reach(summary: Summary) -> float:
    return max((reach(part.delta) for part in summary.slices or ()), default=0.0)


@dataclass(frozen=True)
class Definition:
    """A row: one number, or one number of both versions."""

    measure: Measure
    paths: tuple[FieldPath, ...]
    """Where it stands in summary.json."""

    said: str
    """The value with its interval; `a → b` if each version has its own."""


def definitions(summary: Summary) -> list[Definition]:
    """The numbers that exist, in the order of summary.json."""
    rows = []
    for measure, paths in defined_numbers():
        said = f" {ARROW} ".join(
            say_value(value_at(summary, path), measure.kind) for path in paths
        )
        if said.replace(ABSENT, "").strip(f" {ARROW}"):
            rows.append(Definition(measure, paths, said))
    return rows


def defined_numbers() -> Iterator[tuple[Measure, tuple[FieldPath, ...]]]:
    """Every measure that has a name, with its paths; `a` and `b` share a row."""
    for place in places():
        if not place.measure.name or place.path[0] == "b":
            continue
        paths: tuple[FieldPath, ...] = (place.path,)
        if place.path[0] == "a":
            paths = (place.path, ("b", *place.path[1:]))
        yield _of_five(place) if place.path[0] == "top5" else place.measure, paths


def _of_five(place: Place) -> Measure:
    """The measures of `top5` are those of `top1` with another meaning of right."""
    return replace(
        place.measure,
        name=f"{place.measure.name}, five answers",
        meaning="as for first answers; right means: the true class is among the five",
        formula="as for first answers",
        source="",
    )

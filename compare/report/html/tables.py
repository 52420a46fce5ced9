"""Rows of the report's tables and the numbers at its top, ready for the templates."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from classifier.bundle.labels import Labels
from compare.report.html.charts import dumbbell, interval_plot
from compare.results.numbers import ConfusionChange, Counts
from compare.results.summary import Summary
from compare.results.wording import five_can_miss, say, say_both, say_interval
from compare.statistics.classes import ClassChange
from compare.statistics.measure import Estimate, Kind
from compare.statistics.top_five import TOP


@dataclass(frozen=True)
class Figure:
    """One of the numbers at the top."""

    name: str
    value: str
    interval: str
    plot: Markup
    meaning: str


def figures(summary: Summary) -> list[Figure]:
    """The numbers that exist, with pictures of their intervals."""
    if not summary.data.labelled:
        return _unlabelled_figures(summary)
    a, b, top1, top5 = summary.a, summary.b, summary.top1, summary.top5
    accuracies = say_both(a.top1_accuracy, b.top1_accuracy, "percent")
    widest = max(reach(top1.delta), reach(top5.delta))
    most = max(reach(top1.negative_flip_rate), reach(top1.positive_flip_rate))
    numbers = [
        _figure(
            "Right first answers", top1.delta, "points", (-widest, widest), accuracies
        ),
        _figure(
            "Broken",
            top1.negative_flip_rate,
            "percent",
            (0, most),
            f"{say(top1.broken, 'count')} images: right before, wrong now",
        ),
        _figure(
            "Fixed",
            top1.positive_flip_rate,
            "percent",
            (0, most),
            f"{say(top1.fixed, 'count')} images: wrong before, right now",
        ),
    ]
    if five_can_miss(summary):
        among = say_both(a.top5_accuracy, b.top5_accuracy, "percent")
        lost, gained = say(top5.broken, "count"), say(top5.fixed, "count")
        numbers.append(
            _figure(
                "Truth among the five",
                top5.delta,
                "points",
                (-widest, widest),
                f"{among}; lost on {lost}, gained on {gained}",
            )
        )
    return [*numbers, *_confidence_figures(summary)]


def _confidence_figures(summary: Summary) -> list[Figure]:
    a, b = summary.a, summary.b
    error, loss = summary.calibration_error_delta, summary.log_loss_delta
    errors = say_both(
        a.expected_calibration_error, b.expected_calibration_error, "percent"
    )
    losses = say_both(a.log_loss, b.log_loss, "number")
    return [
        _figure(
            "Calibration error",
            error,
            "points",
            (-reach(error), reach(error)),
            f"{errors}; less is better",
        ),
        _figure(
            "Log loss",
            loss,
            "change",
            (-reach(loss), reach(loss)),
            f"{losses}; less is better",
        ),
    ]


def _unlabelled_figures(summary: Summary) -> list[Figure]:
    confidence, overlap = summary.confidence.delta, summary.overlap
    widest = reach(confidence)
    return [
        _figure(
            "Changed first answers",
            summary.changed_first_answers,
            "percent",
            (0, 1),
            "the likeliest class is another",
        ),
        _figure(
            "Confidence",
            confidence,
            "points",
            (-widest, widest),
            "mean change of the first answer's probability",
        ),
        _figure(
            "Shared answers",
            Estimate(overlap.top5),
            "percent",
            (0, 1),
            "of those that each version gives",
        ),
        _figure(
            "Rank-biased overlap",
            Estimate(overlap.rank_biased_overlap),
            "number",
            (0, 1),
            "1: the same list in the same order",
        ),
        _figure(
            "Kappa of first answers",
            Estimate(summary.agreement_kappa),
            "number",
            (0, 1),
            "agreement beyond luck; 1 is always",
        ),
    ]


def _figure(
    name: str, estimate: Estimate, kind: Kind, ends: tuple[float, float], meaning: str
) -> Figure:
    value = say(estimate.value, kind)
    return Figure(
        name,
        f"{value} points" if kind == "points" else value,
        say_interval(estimate, kind),
        interval_plot(estimate, least=ends[0], most=ends[1]),
        meaning,
    )


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

    plot: Markup


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
        plot=dumbbell(a, b),
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

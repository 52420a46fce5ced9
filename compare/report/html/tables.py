"""What the report's tables show, worked out before a template sees it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from classifier.bundle.labels import Labels
from compare.report.html.charts import dumbbell, interval_plot
from compare.results.wording import Kind, five_can_miss, look_up, say, say_interval
from compare.statistics.classes import ClassChange
from compare.statistics.top_five import TOP


@dataclass(frozen=True)
class Figure:
    """One of the numbers at the top."""

    name: str
    value: str
    interval: str
    plot: Markup
    meaning: str


def figures(summary: Mapping[str, Any], *, labelled: bool) -> list[Figure]:
    """Those that exist, with pictures of their intervals."""
    if not labelled:
        return _unlabelled_figures(summary)
    top1, top5 = look_up(summary, "top1"), look_up(summary, "top5")
    deltas = [look_up(top, "delta") for top in (top1, top5)]
    widest = max(map(reach, deltas))
    numbers = [
        _figure(
            "Right first answers",
            deltas[0],
            "points",
            (-widest, widest),
            _from_to(summary, "top1_accuracy"),
        ),
        *_flip_figures(top1),
    ]
    if five_can_miss(summary):
        lost, gained = (
            say(look_up(top5, flips), "count") for flips in ("broken", "fixed")
        )
        numbers.append(
            _figure(
                "Truth among the five",
                deltas[1],
                "points",
                (-widest, widest),
                f"{_from_to(summary, 'top5_accuracy')}; lost on {lost}, gained on "
                f"{gained}",
            )
        )
    return [*numbers, *_confidence_figures(summary)]


def _flip_figures(top1: object) -> list[Figure]:
    rates = [look_up(top1, f"{sign}_flip_rate") for sign in ("negative", "positive")]
    most = max(map(reach, rates))
    broken, fixed = (
        f"{say(look_up(top1, flips), 'count')} images" for flips in ("broken", "fixed")
    )
    return [
        _figure(
            "Broken",
            rates[0],
            "percent",
            (0, most),
            f"{broken}: right before, wrong now",
        ),
        _figure(
            "Fixed", rates[1], "percent", (0, most), f"{fixed}: wrong before, right now"
        ),
    ]


def _confidence_figures(summary: Mapping[str, Any]) -> list[Figure]:
    error, loss = (
        look_up(summary, f"{name}_delta") for name in ("calibration_error", "log_loss")
    )
    return [
        _figure(
            "Calibration error",
            error,
            "points",
            (-reach(error), reach(error)),
            f"{_from_to(summary, 'expected_calibration_error')}; less is better",
        ),
        _figure(
            "Log loss",
            loss,
            "change",
            (-reach(loss), reach(loss)),
            f"{_from_to(summary, 'log_loss', 'number')}; less is better",
        ),
    ]


def _unlabelled_figures(summary: Mapping[str, Any]) -> list[Figure]:
    changed = {
        "value": look_up(summary, "disagreement_rate"),
        "low": look_up(summary, "disagreement.low"),
        "high": look_up(summary, "disagreement.high"),
    }
    confidence = look_up(summary, "confidence.delta")
    widest = reach(confidence)

    def plain(path: str) -> dict[str, Any]:
        return {"value": look_up(summary, path)}

    return [
        _figure(
            "Changed first answers",
            changed,
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
            plain("overlap.top5"),
            "percent",
            (0, 1),
            "of those that each version gives",
        ),
        _figure(
            "Rank-biased overlap",
            plain("overlap.rank_biased_overlap"),
            "number",
            (0, 1),
            "1: the same list in the same order",
        ),
        _figure(
            "Kappa of first answers",
            plain("agreement_kappa"),
            "number",
            (0, 1),
            "agreement beyond luck; 1 is always",
        ),
    ]


def _figure(
    name: str, estimate: object, kind: Kind, ends: tuple[float, float], meaning: str
) -> Figure:
    value = say(look_up(estimate, "value"), kind)
    return Figure(
        name,
        f"{value} points" if kind == "points" else value,
        say_interval(estimate, kind),
        interval_plot(estimate, least=ends[0], most=ends[1]),
        meaning,
    )


def reach(estimate: object) -> float:
    """How far from 0 a picture of it has to go; a little more than its interval."""
    ends = [look_up(estimate, end) for end in ("value", "low", "high")]
    return 1.15 * max((abs(end) for end in ends if end is not None), default=0.0)


def _from_to(summary: Mapping[str, Any], key: str, kind: Kind = "percent") -> str:
    a, b = (say(look_up(summary, f"{side}.{key}"), kind) for side in "ab")
    return f"{a} \N{RIGHTWARDS ARROW} {b}"


TENTHS = tuple(
    f"\N{LESS-THAN OR EQUAL TO}\N{NO-BREAK SPACE}{10 * n}\N{NO-BREAK SPACE}%"
    for n in range(1, 11)
)
"""Of confidence: more than the one before, and at most this."""


@dataclass(frozen=True)
class HeatCell:
    """Images that have one thing in the baseline and another in the candidate."""

    count: int
    kind: str
    """up, down or same for where the truth went; moved or same for confidence."""

    weight: float
    """0..1: how strong its colour is; square root, so that few can still be seen."""

    filter: str


def rank_rows(summary: Mapping[str, Any]) -> list[list[HeatCell]]:
    """Six rows of six; empty where there is no table."""
    return _heat_rows(
        look_up(summary, "rank_transitions"),
        kinds=("down", "up"),
        link=lambda i, j: f"a_rank={(i + 1) % (TOP + 1)}&b_rank={(j + 1) % (TOP + 1)}",
    )


def confidence_rows(summary: Mapping[str, Any]) -> list[list[HeatCell]]:
    """Ten rows of ten; empty where there is no table."""
    return _heat_rows(
        look_up(summary, "confidence.table"),
        kinds=("moved", "moved"),
        link=lambda i, j: f"a_tenth={i}&b_tenth={j}",
    )


def _heat_rows(
    table: list[list[int]] | None,
    *,
    kinds: tuple[str, str],
    link: Callable[[int, int], str],
) -> list[list[HeatCell]]:
    """`kinds` are those right and left of the diagonal, which has no colour."""
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
    delta: Mapping[str, float | None]
    q_value: float
    mark: str
    """worse or better, where that is shown; else empty."""

    plot: Markup


def class_rows(classes: Sequence[ClassChange], labels: Labels) -> list[ClassRow]:
    """The least likely by luck first, of equals the largest change."""
    rows = [_class_row(change, labels) for change in classes]
    rows.sort(key=lambda row: (row.q_value, -abs(row.delta["value"] or 0)))
    return rows


def _class_row(change: ClassChange, labels: Labels) -> ClassRow:
    table = change.table
    a = (table.both_right + table.broken) / table.images
    b = (table.both_right + table.fixed) / table.images
    mark = "worse" if change.is_regression else ""
    mark = "better" if change.is_improvement else mark
    delta = change.delta
    return ClassRow(
        index=change.index,
        id=labels.ids[change.index],
        name=labels.names[change.index],
        images=table.images,
        a=a,
        b=b,
        broken=table.broken,
        fixed=table.fixed,
        delta={"value": delta.value, "low": delta.low, "high": delta.high},
        q_value=change.q_value,
        mark=mark,
        plot=dumbbell(a, b),
    )


def broken_if_unrelated(summary: Mapping[str, Any]) -> float | None:
    """The share of images that two versions of these accuracies would break, were the
    errors of one independent of the other's."""
    a, b = (look_up(summary, f"{side}.top1_accuracy") for side in "ab")
    return None if a is None or b is None else a * (1 - b)


def confusion_filters(entry: Mapping[str, Any], labels: Labels) -> Mapping[str, str]:
    """Links to the images of a confusion: by the baseline, the candidate, either."""
    target = labels.index_of.get(entry["target_id"])
    answer = labels.index_of.get(entry["answer_id"])
    start = f"show=all&target={target}"
    return {
        "a": f"{start}&a={answer}",
        "b": f"{start}&b={answer}",
        "either": f"{start}&says={answer}",
    }


def slice_reach(summary: Mapping[str, Any]) -> float:
    slices = look_up(summary, "slices") or []
    return max((reach(look_up(entry, "delta")) for entry in slices), default=0.0)

"""What the report's sections show, worked out before a template sees it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from classifier.labels import Labels
from compare.agreement import TOP
from compare.class_changes import ClassChange
from compare.report_charts import dumbbell, interval_plot
from compare.wording import Kind, look_up, say, say_interval

PLACES = ("1st", "2nd", "3rd", "4th", "5th", "none")


@dataclass(frozen=True)
class Figure:
    """One of the five numbers at the top."""

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
    deltas = [look_up(summary, f"{top}.delta") for top in ("top1", "top5")]
    reach = max(map(_reach, deltas))
    flips = [look_up(top1, f"{sign}_flip_rate") for sign in ("negative", "positive")]
    most = max(map(_reach, flips))
    error = look_up(summary, "calibration_error_delta") or {
        "value": _difference(summary, "expected_calibration_error")
    }
    five = look_up(top5, "broken"), look_up(top5, "fixed")
    return [
        _figure(
            "Right first answers",
            deltas[0],
            "points",
            (-reach, reach),
            _from_to(summary, "top1_accuracy"),
        ),
        _figure(
            "Broken",
            flips[0],
            "percent",
            (0, most),
            f"{say(look_up(top1, 'broken'), 'count')} images: right before, wrong now",
        ),
        _figure(
            "Fixed",
            flips[1],
            "percent",
            (0, most),
            f"{say(look_up(top1, 'fixed'), 'count')} images: wrong before, right now",
        ),
        _figure(
            "Truth among the five",
            deltas[1],
            "points",
            (-reach, reach),
            f"{_from_to(summary, 'top5_accuracy')}; lost on "
            f"{say(five[0], 'count')}, gained on {say(five[1], 'count')}",
        ),
        _figure(
            "Calibration error",
            error,
            "points",
            (-_reach(error), _reach(error)),
            f"{_from_to(summary, 'expected_calibration_error')}; less is better",
        ),
    ]


def _unlabelled_figures(summary: Mapping[str, Any]) -> list[Figure]:
    changed = {
        "value": look_up(summary, "disagreement_rate"),
        "low": look_up(summary, "disagreement.low"),
        "high": look_up(summary, "disagreement.high"),
    }
    confidence = look_up(summary, "confidence.delta")
    reach = _reach(confidence)

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
            (-reach, reach),
            "mean change of the first answer's probability",
        ),
        _figure(
            "Shared answers",
            plain("overlap.top5"),
            "percent",
            (0, 1),
            "of the five that each gives",
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


def _reach(estimate: object) -> float:
    """How far from 0 a picture of it has to go; a little more than its interval."""
    ends = [look_up(estimate, end) for end in ("value", "low", "high")]
    return 1.15 * max((abs(end) for end in ends if end is not None), default=0.0)


def _difference(summary: Mapping[str, Any], key: str) -> float | None:
    a, b = (look_up(summary, f"{side}.{key}") for side in "ab")
    return None if a is None or b is None else b - a


def _from_to(summary: Mapping[str, Any], key: str) -> str:
    a, b = (say(look_up(summary, f"{side}.{key}"), "percent") for side in "ab")
    return f"{a} \N{RIGHTWARDS ARROW} {b}"


@dataclass(frozen=True)
class RankCell:
    """Images whose truth moved from one place to another."""

    count: int
    kind: str
    """up, down or same: where the truth went."""

    weight: float
    """0..1: how strong its colour is; square root, so that few can still be seen."""

    filter: str


def rank_rows(summary: Mapping[str, Any]) -> list[list[RankCell]]:
    """Six rows of six; empty where there is no table."""
    table = look_up(summary, "rank_transitions")
    if not table:
        return []
    moved = [n for i, row in enumerate(table) for j, n in enumerate(row) if i != j]
    most = max(*moved, 1)
    return [
        [
            RankCell(
                count,
                "same" if i == j else "down" if j > i else "up",
                min(1.0, math.sqrt(count / most)),
                f"show=all&a_rank={(i + 1) % (TOP + 1)}&b_rank={(j + 1) % (TOP + 1)}",
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
    return max((_reach(look_up(entry, "delta")) for entry in slices), default=0.0)

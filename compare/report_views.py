"""What the report's tables show, worked out before a template sees it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from classifier.labels import Labels
from compare.agreement import TOP
from compare.class_changes import ClassChange
from compare.report_charts import dumbbell
from compare.report_figures import reach
from compare.wording import look_up


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
    return max((reach(look_up(entry, "delta")) for entry in slices), default=0.0)

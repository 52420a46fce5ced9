"""What the report's tables show, worked out before a template sees it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from classifier.labels import Labels
from compare.agreement import TOP
from compare.class_changes import ClassChange
from compare.report_charts import dumbbell
from compare.report_figures import reach
from compare.wording import look_up

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

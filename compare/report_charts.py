"""A report's small pictures, as SVG that stands in the page and takes its colours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from compare.wording import look_up, say

WIDTH, HEIGHT, HEAD, GAP = 440, 280, 24, 4
"""Of the mosaic; `HEAD` is for the words above."""

CATEGORY_SIGNS = {
    "both_right": "\N{BLACK CIRCLE}",
    "broken": "\N{BLACK DOWN-POINTING TRIANGLE}",
    "fixed": "\N{BLACK UP-POINTING TRIANGLE}",
    "both_wrong": "\N{BLACK SQUARE}",
}
"""Nothing is told by colour alone."""


@dataclass(frozen=True)
class _Box:
    name: str
    count: int
    x: float
    y: float
    width: float
    height: float


def mosaic(
    table: Mapping[str, Any], *, a: str, title: str, filters: Mapping[str, str]
) -> Markup:
    """The 2x2 table as areas, each a link to its images; empty where no image is."""
    boxes = _boxes({name: table.get(name) or 0 for name in CATEGORY_SIGNS})
    if not boxes:
        return Markup("")
    total = sum(box.count for box in boxes)
    right = (table.get("both_right") or 0) + (table.get("broken") or 0)
    areas = Markup("").join(_area(box, total, filters[box.name]) for box in boxes)
    return Markup(
        '<svg class="mosaic" viewBox="0 0 {} {}" role="group" aria-label="{}">'
        '<text class="axis-name" x="0" y="15">{} right {}</text>'
        '<text class="axis-name" x="{}" y="15" text-anchor="end">{} wrong {}</text>'
        "{}</svg>"
    ).format(
        *(WIDTH, HEAD + HEIGHT, title),
        *(a, say(right / total, "percent")),
        *(WIDTH, a, say(1 - right / total, "percent")),
        areas,
    )


def _boxes(counts: Mapping[str, int]) -> list[_Box]:
    """Areas proportional to counts: columns are the baseline's right and wrong."""
    total = sum(counts.values())
    columns = [("both_right", "broken"), ("fixed", "both_wrong")]
    filled = [column for column in columns if sum(counts[name] for name in column)]
    boxes, x = [], 0.0
    for column in filled:
        in_column = sum(counts[name] for name in column)
        width = in_column / total * (WIDTH - GAP * (len(filled) - 1))
        y, rows = float(HEAD), [name for name in column if counts[name]]
        for name in rows:
            height = counts[name] / in_column * (HEIGHT - GAP * (len(rows) - 1))
            boxes.append(_Box(name, counts[name], x, y, width, height))
            y += height + GAP
        x += width + GAP
    return boxes


def _area(box: _Box, total: int, filter_: str) -> Markup:
    """With as many words as have room in it; the table beside it has them all."""
    sign, name = CATEGORY_SIGNS[box.name], box.name.replace("_", " ")
    said = f"{box.count:,}, {say(box.count / total, 'percent')}"
    words = Markup("")
    if box.width >= 100 and box.height >= 46:
        words = Markup(
            '<text x="{:.1f}" y="{:.1f}">{} {}</text>'
            '<text class="count" x="{:.1f}" y="{:.1f}">{:,}</text>'
        ).format(box.x + 9, box.y + 19, sign, name, box.x + 9, box.y + 39, box.count)
    elif box.width >= 70 and box.height >= 20:
        short = name if box.width >= 140 else ""
        words = Markup(
            '<text x="{:.1f}" y="{:.1f}">{} {} <tspan class="count">{:,}</tspan></text>'
        ).format(box.x + 9, box.y + box.height / 2 + 5, sign, short, box.count)
    return Markup(
        '<a href="#gallery" data-filter="{}" aria-label="{}: {}"><rect class="{}" '
        'x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="3"/>{}'
        "<title>{}: {}</title></a>"
    ).format(
        filter_,
        *(name, said, box.name),
        *(box.x, box.y, box.width, box.height),
        words,
        *(name, said),
    )


def interval_plot(estimate: object, *, least: float, most: float) -> Markup:
    """A dot for the value and a line for its interval, from `least` to `most`.

    A stroke stands at 0. Empty where there is no value.
    """
    value, low, high = (look_up(estimate, end) for end in ("value", "low", "high"))
    if value is None or most <= least:
        return Markup("")

    def place(x: float) -> float:
        return 5 + 150 * (min(max(x, least), most) - least) / (most - least)

    parts = []
    if least <= 0 <= most:
        parts.append(Markup('<path class="zero" d="M{0:.1f} 1V17"/>').format(place(0)))
    if low is not None and high is not None:
        parts.append(
            Markup('<path class="range" d="M{:.1f} 9H{:.1f}"/>').format(
                place(low), place(high)
            )
        )
    return Markup(
        '<svg class="interval" viewBox="0 0 160 18" aria-hidden="true">'
        '<path class="axis" d="M5 9H155"/>{}<circle cx="{:.1f}" cy="9" r="4"/></svg>'
    ).format(Markup("").join(parts), place(value))


def dumbbell(a: float | None, b: float | None) -> Markup:
    """Two shares 0..1 on one line: the baseline a ring, the candidate a dot."""
    if a is None or b is None:
        return Markup("")
    from_x, to_x = 6 + 108 * a, 6 + 108 * b
    return Markup(
        '<svg class="dumbbell" viewBox="0 0 120 14" aria-hidden="true">'
        '<path class="axis" d="M6 7H114"/>'
        '<path class="{}" d="M{:.1f} 7H{:.1f}"/>'
        '<circle class="a" cx="{:.1f}" cy="7" r="4"/>'
        '<circle class="b" cx="{:.1f}" cy="7" r="4"/></svg>'
    ).format("down" if b < a else "up", from_x, to_x, from_x, to_x)

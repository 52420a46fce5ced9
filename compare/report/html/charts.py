"""The report's charts as inline SVG, coloured by the page's style sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from compare.results.numbers import PairedNumbers
from compare.results.wording import say
from compare.statistics.measure import Estimate, ReliabilityBin

WIDTH, HEIGHT, HEAD, GAP = 440, 280, 24, 4
"""Sizes of the mosaic; `HEAD` is the height of the words above it."""

CATEGORY_SIGNS = {
    "both_right": "\N{BLACK CIRCLE}",
    "broken": "\N{BLACK DOWN-POINTING TRIANGLE}",
    "fixed": "\N{BLACK UP-POINTING TRIANGLE}",
    "both_wrong": "\N{BLACK SQUARE}",
}
"""A sign beside each colour: no meaning depends on colour alone."""


@dataclass(frozen=True)
class _Box:
    name: str
    count: int
    x: float
    y: float
    width: float
    height: float


def mosaic(
    table: PairedNumbers, *, a: str, title: str, filters: Mapping[str, str]
) -> Markup:
    """The 2x2 table as areas, each a link to its images; empty without images."""
    counts = {name: getattr(table, name) or 0 for name in CATEGORY_SIGNS}
    boxes = _boxes(counts)
    if not boxes:
        return Markup("")
    total = sum(box.count for box in boxes)
    right = counts["both_right"] + counts["broken"]
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
    """Areas proportional to counts; the columns are the baseline right and wrong."""
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
    """One area, with as much text as fits; the table beside it has all of it."""
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


def interval_plot(estimate: Estimate, *, least: float, most: float) -> Markup:
    """A dot for the value and a line for its interval, from `least` to `most`.

    A stroke marks 0. Empty if there is no value.
    """
    value, low, high = estimate.value, estimate.low, estimate.high
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
    """Two shares, 0..1, on a line: the baseline is a ring, the candidate a dot."""
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


@dataclass(frozen=True)
class Plot:
    """Coordinates of a plot, whose values grow from the lower left corner."""

    most_x: float
    most_y: float
    width: float = 300
    height: float = 220
    left: float = 58
    below: float = 40
    above: float = 10

    @property
    def box(self) -> tuple[float, float]:
        return self.left + self.width + 22, self.above + self.height + self.below

    def x(self, value: float) -> float:
        return self.left + self.width * value / self.most_x

    def y(self, value: float) -> float:
        return self.above + self.height * (1 - value / self.most_y)

    def bar(
        self, low: float, high: float, base: float, top: float, kind: str
    ) -> Markup:
        return Markup(
            '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>'
        ).format(
            kind,
            self.x(low) + 0.5,
            self.y(top),
            max(0.0, self.x(high) - self.x(low) - 1),
            max(0.0, self.y(base) - self.y(top)),
        )

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> Markup:
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        return Markup('<path class="{}" d="M{}"/>').format(kind, path)

    def frame(
        self,
        *,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_name: str = "",
        y_name: str = "",
    ) -> Markup:
        """Grid lines at the y ticks, texts at both axes' ticks, and the axes' names."""
        floor = self.above + self.height
        parts = [
            Markup(
                '<path class="grid" d="M{:.1f} {:.1f}H{:.1f}"/>'
                '<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(
                *(self.left, self.y(value), self.left + self.width),
                *(self.left - 5, self.y(value) + 4, text),
            )
            for value, text in y_ticks
        ]
        parts += [
            Markup(
                '<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}'
                "</text>"
            ).format(self.x(value), floor + 15, text)
            for value, text in x_ticks
        ]
        parts.append(
            Markup(
                '<text class="axis-name" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}'
                "</text>"
                '<text class="axis-name" transform="translate(11 {:.1f}) rotate(-90)" '
                'text-anchor="middle">{}</text>'
            ).format(
                *(self.left + self.width / 2, floor + 33, x_name),
                *(self.above + self.height / 2, y_name),
            )
        )
        return Markup("").join(parts)

    def svg(self, inside: Markup, *, title: str) -> Markup:
        width, height = self.box
        return Markup(
            '<svg class="plot" viewBox="0 0 {:.0f} {:.0f}" role="img" '
            'aria-label="{}">{}</svg>'
        ).format(width, height, title, inside)


PERCENTS = [(n / 4, f"{25 * n} %") for n in range(5)]

Bins = Sequence[ReliabilityBin]


def reliability_diagram(bins: Bins, *, version: str, side: str) -> Markup:
    """Accuracy by confidence; bars of a calibrated version end on the diagonal."""
    plot = Plot(1, 1, height=260)
    parts = [
        plot.frame(
            x_ticks=PERCENTS,
            y_ticks=PERCENTS,
            x_name="confidence in the first answer",
            y_name="of these, right",
        )
    ]
    for bin_ in bins:
        if bin_.accuracy is None or bin_.confidence is None:
            continue
        low, high, accuracy = bin_.low, bin_.high, bin_.accuracy
        parts.append(plot.bar(low, high, 0, accuracy, f"bar-{side}"))
        lower, upper = sorted((accuracy, bin_.confidence))
        parts.append(plot.bar(low, high, lower, upper, "miss"))
    parts.append(plot.line([(0, 0), (1, 1)], "diagonal"))
    title = f"Reliability of {version}: the table below has its numbers"
    return plot.svg(Markup("").join(parts), title=title)


def confidence_histogram(bins: Bins, *, version: str, most: int) -> Markup:
    """Images by confidence, right below wrong; the y axis ends at `most`."""
    plot = Plot(1, max(most, 1), height=110)
    ticks = [(0.0, "0"), (plot.most_y, f"{plot.most_y:,.0f}")]
    parts = [
        plot.frame(
            x_ticks=PERCENTS, y_ticks=ticks, x_name="confidence in the first answer"
        )
    ]
    for bin_ in bins:
        if not bin_.images:
            continue
        right = bin_.images * (bin_.accuracy or 0)
        parts.append(plot.bar(bin_.low, bin_.high, 0, right, "right"))
        parts.append(plot.bar(bin_.low, bin_.high, right, bin_.images, "wrong"))
    title = f"Images by confidence of {version}: the table below has its numbers"
    return plot.svg(Markup("").join(parts), title=title)


def most_images(*bins: Bins) -> int:
    """The largest bin: the common end of both versions' y axes."""
    return max((bin_.images for side in bins for bin_ in side), default=0)


SHARES = [(n / 4, f"{25 * n} %") for n in range(5)]


def latency_curves(a_ms: Sequence[float], b_ms: Sequence[float]) -> Markup:
    """The share of requests answered within each time; empty without samples.

    The x axis ends at the 99th percentile of the slower version, so that one very slow
    request does not squeeze the rest.
    """
    a, b = sorted(a_ms), sorted(b_ms)
    if not a or not b:
        return Markup("")
    most = 1.1 * max(_quantile(a, 0.99), _quantile(b, 0.99), 0.001)
    step = _round_step(most)
    ticks = [(n * step, f"{n * step:g}") for n in range(int(most / step) + 1)]
    plot = Plot(most, 1)
    frame = plot.frame(
        x_ticks=ticks, y_ticks=SHARES, x_name="milliseconds", y_name="answered within"
    )
    curves = [
        plot.line(_steps(times, most), f"curve-{side}")
        for side, times in (("a", a), ("b", b))
    ]
    inside = Markup("").join([frame, *curves])
    return plot.svg(inside, title="Share of requests answered within each time")


def _quantile(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))]


def _steps(times: Sequence[float], most: float) -> list[tuple[float, float]]:
    points, done = [(0.0, 0.0)], 0.0
    for count, time in enumerate(times, start=1):
        if time > most:
            break
        points += [(time, done), (time, count / len(times))]
        done = count / len(times)
    return [*points, (most, done)]


def _round_step(most: float) -> float:
    """1, 2 or 5 times a power of ten, at most six times in `most`."""
    power = 10.0 ** math.floor(math.log10(most / 6))
    return next(k * power for k in (1, 2, 5, 10) if most / (k * power) <= 6)

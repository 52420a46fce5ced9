"""Geometry of the report's charts; charts.html.j2 draws them as inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from compare.results.numbers import PairedNumbers
from compare.statistics.measure import ReliabilityBin

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
class Box:
    """An area of the mosaic."""

    name: str
    count: int
    share: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Mosaic:
    """The 2x2 table of right and wrong as areas."""

    boxes: Sequence[Box]
    right_share: float
    """Share of the images that the baseline has right."""


def mosaic_boxes(table: PairedNumbers) -> Mosaic | None:
    """Areas proportional to counts; the columns are the baseline right and wrong.

    None without images.
    """
    counts = {name: getattr(table, name) or 0 for name in CATEGORY_SIGNS}
    total = sum(counts.values())
    columns = [("both_right", "broken"), ("fixed", "both_wrong")]
    sums = [sum(counts[name] for name in column) for column in columns]
    filled = sum(map(bool, sums))
    boxes, x = [], 0.0
    for column, in_column in zip(columns, sums, strict=True):
        if not in_column:
            continue
        width = in_column / total * (WIDTH - GAP * (filled - 1))
        y, rows = float(HEAD), [name for name in column if counts[name]]
        for name in rows:
            count = counts[name]
            height = count / in_column * (HEIGHT - GAP * (len(rows) - 1))
            boxes.append(Box(name, count, count / total, x, y, width, height))
            y += height + GAP
        x += width + GAP
    return Mosaic(boxes, sums[0] / total) if total else None


@dataclass(frozen=True)
class Axis:
    """Places on an axis of 150 units; what is beyond its ends is at the end."""

    least: float
    most: float

    def __call__(self, value: float) -> float:
        inside = min(max(value, self.least), self.most)
        return 5 + 150 * (inside - self.least) / (self.most - self.least)


@dataclass(frozen=True)
class Bar:
    kind: str
    low: float
    high: float
    base: float
    top: float


@dataclass(frozen=True)
class Line:
    kind: str
    points: Sequence[tuple[float, float]]

    def path(self, plot: "Plot") -> str:
        return "L".join(f"{plot.x(x):.1f} {plot.y(y):.1f}" for x, y in self.points)


Ticks = Sequence[tuple[float, str]]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Bars and lines; values grow from the lower left corner."""

    title: str
    x_ticks: Ticks
    y_ticks: Ticks
    x_name: str
    y_name: str = ""
    most_x: float = 1
    most_y: float = 1
    height: int = 220
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()

    width: ClassVar[int] = 300
    left: ClassVar[int] = 58
    above: ClassVar[int] = 10

    def x(self, value: float) -> float:
        return self.left + self.width * value / self.most_x

    def y(self, value: float) -> float:
        return self.above + self.height * (1 - value / self.most_y)


PERCENTS = [(n / 4, f"{25 * n} %") for n in range(5)]

Bins = Sequence[ReliabilityBin]


def reliability_diagram(bins: Bins, *, version: str, side: str) -> Plot:
    """Accuracy by confidence; bars of a calibrated version end on the diagonal."""
    bars = []
    for each in bins:
        if each.accuracy is None or each.confidence is None:
            continue
        lower, upper = sorted((each.accuracy, each.confidence))
        bars += [
            Bar(f"bar-{side}", each.low, each.high, 0, each.accuracy),
            Bar("miss", each.low, each.high, lower, upper),
        ]
    return Plot(
        title=f"Reliability of {version}: the table below has its numbers",
        x_ticks=PERCENTS,
        y_ticks=PERCENTS,
        x_name="confidence in the first answer",
        y_name="of these, right",
        height=260,
        bars=bars,
        lines=[Line("diagonal", [(0, 0), (1, 1)])],
    )


def confidence_histogram(bins: Bins, *, version: str, most: int) -> Plot:
    """Images by confidence, right below wrong; the y axis ends at `most`."""
    bars = []
    for each in bins:
        if each.images:
            right = each.images * (each.accuracy or 0)
            bars += [
                Bar("right", each.low, each.high, 0, right),
                Bar("wrong", each.low, each.high, right, each.images),
            ]
    most = max(most, 1)
    return Plot(
        title=f"Images by confidence of {version}: the table below has its numbers",
        x_ticks=PERCENTS,
        y_ticks=[(0, "0"), (most, f"{most:,}")],
        x_name="confidence in the first answer",
        most_y=most,
        height=110,
        bars=bars,
    )


def most_images(*bins: Bins) -> int:
    """The largest bin: the common end of both versions' y axes."""
    return max((each.images for side in bins for each in side), default=0)


def latency_curves(a_ms: Sequence[float], b_ms: Sequence[float]) -> Plot | None:
    """The share of requests answered within each time; None without samples.

    The x axis ends at the 99th percentile of the slower version, so that one very slow
    request does not squeeze the rest.
    """
    a, b = sorted(a_ms), sorted(b_ms)
    if not a or not b:
        return None
    most = 1.1 * max(_quantile(a, 0.99), _quantile(b, 0.99), 0.001)
    step = _round_step(most)
    return Plot(
        title="Share of requests answered within each time",
        x_ticks=[(n * step, f"{n * step:g}") for n in range(int(most / step) + 1)],
        y_ticks=PERCENTS,
        x_name="milliseconds",
        y_name="answered within",
        most_x=most,
        lines=[Line("curve-a", _steps(a, most)), Line("curve-b", _steps(b, most))],
    )


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

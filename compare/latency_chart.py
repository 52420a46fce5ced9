"""A picture of how long single requests took."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from compare.plot import Plot

SHARES = [(n / 4, f"{25 * n} %") for n in range(5)]


def latency_curves(a_ms: Sequence[float], b_ms: Sequence[float]) -> Markup:
    """The share of requests answered within each time; empty without samples.

    The x axis ends at the 99th percentile of the slower version: one request that
    waited for something else would leave no room for the rest.
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

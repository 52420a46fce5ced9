"""Pictures of whether a version's confidence can be believed."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from compare.plot import Plot

PERCENTS = [(n / 4, f"{25 * n} %") for n in range(5)]

Bins = Sequence[Mapping[str, Any]]
"""`reliability` of summary.json."""


def reliability_diagram(bins: Bins, *, version: str, side: str) -> Markup:
    """How often answers of a confidence are right; on the diagonal they are honest."""
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
        low, high, accuracy = bin_["low"], bin_["high"], bin_["accuracy"]
        if accuracy is None:
            continue
        parts.append(plot.bar(low, high, 0, accuracy, f"bar-{side}"))
        confidence = bin_["confidence"]
        lower, upper = sorted((accuracy, confidence))
        parts.append(plot.bar(low, high, lower, upper, "miss"))
    parts.append(plot.line([(0, 0), (1, 1)], "diagonal"))
    title = f"Reliability of {version}: the table below has its numbers"
    return plot.svg(Markup("").join(parts), title=title)


def confidence_histogram(bins: Bins, *, version: str, most: int) -> Markup:
    """Images by confidence, right ones below wrong ones; `most` ends the y axis."""
    plot = Plot(1, max(most, 1), height=110)
    ticks = [(0.0, "0"), (plot.most_y, f"{plot.most_y:,.0f}")]
    parts = [
        plot.frame(
            x_ticks=PERCENTS, y_ticks=ticks, x_name="confidence in the first answer"
        )
    ]
    for bin_ in bins:
        if not bin_["images"]:
            continue
        right = bin_["images"] * (bin_["accuracy"] or 0)
        parts.append(plot.bar(bin_["low"], bin_["high"], 0, right, "right"))
        parts.append(
            plot.bar(bin_["low"], bin_["high"], right, bin_["images"], "wrong")
        )
    title = f"Images by confidence of {version}: the table below has its numbers"
    return plot.svg(Markup("").join(parts), title=title)


def most_images(*bins: Bins) -> int:
    """In any one bin, so that both versions' histograms can share an axis."""
    return max((bin_["images"] for side in bins for bin_ in side), default=0)

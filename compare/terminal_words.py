"""Numbers and sentences as a terminal of 80 columns shows them, without colour."""

import textwrap
from collections.abc import Mapping, Sequence

from classifier.plain_text import printable
from compare.wording import ABSENT, signed_change, signed_points

WIDTH = 80

Ends = Mapping[str, float | None]
"""An interval's `low` and `high`."""


def wrap(text: str, *, indent: str = "") -> list[str]:
    """Names with hyphens stay whole."""
    return textwrap.wrap(
        printable(text),  # before it is measured
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def clipped(lines: Sequence[str], most: int) -> list[str]:
    """The first lines; that there were more shows at the last one's end."""
    if len(lines) <= most:
        return [*lines]
    return [*lines[: most - 1], f"{lines[most - 1][: WIDTH - 2]} …"]


def percent(fraction: float | None) -> str:
    return ABSENT if fraction is None else f"{100 * fraction:.2f} %"


def points(fraction: float | None) -> str:
    """Percentage points, signed."""
    return ABSENT if fraction is None else signed_points(fraction)


def points_between(ends: Ends) -> str:
    """Empty where there is no interval."""
    low, high = ends["low"], ends["high"]
    return "" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def change_between(ends: Ends) -> str:
    """The same for a difference that has no unit."""
    low, high = ends["low"], ends["high"]
    if low is None or high is None:
        return ""
    return f"[{signed_change(low)}, {signed_change(high)}]"


def percent_between(ends: Ends) -> str:
    low, high = ends["low"], ends["high"]
    if low is None or high is None:
        return ""
    return f"[{100 * low:.2f}, {100 * high:.2f}]"


def number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4g}"

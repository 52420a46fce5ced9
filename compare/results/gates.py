"""Release gates: `negative_flip_rate>0.06` trips if it is true."""

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compare.results.summary import GateResult, Summary, places, value_at

PATHS = frozenset(place.path for place in places() if place.is_number)
"""The numbers of summary.json that a gate can name."""

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class UnknownGate(ValueError):
    """A gate whose path is no number of summary.json, or whose syntax is wrong."""


@dataclass(frozen=True)
class Gate:
    expression: str
    path: tuple[str, ...]
    """The full path of the number in summary.json."""

    comparison: str
    threshold: float

    def result(self, summary: Summary) -> GateResult:
        """A number that does not exist trips: what cannot be shown did not pass."""
        found = value_at(summary, self.path)
        if not isinstance(found, int | float):
            return GateResult(expression=self.expression, value=None, tripped=True)
        value = float(found)
        return GateResult(
            expression=self.expression, value=value, tripped=self.trips(value)
        )

    def trips(self, value: float) -> bool:
        return _OPERATORS[self.comparison](value, self.threshold)


def gate_names() -> list[str]:
    """Sorted, without the ends of intervals: `top1.delta`, not `top1.delta.low`."""
    return sorted(
        ".".join(path).removesuffix(".value")
        for path in PATHS
        if path[-1] not in ("low", "high") or (*path[:-1], "value") not in PATHS
    )


def parse_gate(expression: str) -> Gate:
    """Parse `PATH OP NUMBER`. Raises UnknownGate, which lists the paths."""
    match = re.fullmatch(r"\s*([\w.]+)\s*(>=|<=|>|<)\s*(\S+)\s*", expression)
    if match is None:
        raise UnknownGate(
            f"{expression!r} is no gate; write PATH OP NUMBER with OP one of > >= < "
            f"<=, such as negative_flip_rate>0.06"
        )
    try:
        threshold = float(match[3])
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise UnknownGate(f"{expression!r}: {match[3]!r} is not a finite number")
    return Gate(expression, _whole_path(match[1]), match[2], threshold)


def _whole_path(text: str) -> tuple[str, ...]:
    """The full path; `text` may lack a leading `top1.` and a final `.value`."""
    path = tuple(text.split("."))
    for candidate in (path, ("top1", *path)):
        for whole in (candidate, (*candidate, "value")):
            if whole in PATHS:
                return whole
    names = gate_names()
    short = [name.removeprefix("top1.") for name in names]
    alike = difflib.get_close_matches(text, dict.fromkeys([*short, *names]), n=3)
    hint = f"did you mean {' or '.join(alike)}? " if alike else ""
    raise UnknownGate(
        f"nothing in summary.json is called {text!r} and a number; {hint}there are "
        f"{', '.join(names)}, and .low and .high of each interval"
    )

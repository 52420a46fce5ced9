"""Release gates: `negative_flip_rate>0.06` trips when it is true."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class UnknownGate(ValueError):
    """A gate that names nothing in summary.json, or is not written as one."""


@dataclass(frozen=True)
class Gate:
    expression: str
    path: tuple[str, ...]
    """Whole: where the number stands in summary.json."""

    comparison: str
    threshold: float

    def trips(self, value: float | None) -> bool:
        """A value that does not exist trips: what cannot be shown did not pass."""
        return value is None or _OPERATORS[self.comparison](value, self.threshold)


_ESTIMATE = ("value", "low", "high")
_COUNTS = ("both_right", "broken", "fixed", "both_wrong")
_P_VALUES = ("mcnemar_mid_p", "mcnemar_exact_p")
_ESTIMATES = ("delta", "negative_flip_rate", "positive_flip_rate")

PATHS: frozenset[tuple[str, ...]] = frozenset(
    [
        ("images",),
        ("missing",),
        ("disagreement_rate",),
        ("class_regressions",),
        *(
            (side, name)
            for side in ("a", "b")
            for name in (
                "top1_accuracy",
                "top5_accuracy",
                "expected_calibration_error",
            )
        ),
        *((top, name) for top in ("top1", "top5") for name in (*_COUNTS, *_P_VALUES)),
        *(
            (top, name, end)
            for top in ("top1", "top5")
            for name in _ESTIMATES
            for end in _ESTIMATE
        ),
    ]
)
"""The numbers of summary.json that a gate can name."""


def parse_gate(expression: str) -> Gate:
    """`PATH OP NUMBER`; UnknownGate lists what there is."""
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


def value_at(summary: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = summary
    for key in path:
        value = value[key]
    return None if value is None else float(value)


def _whole_path(text: str) -> tuple[str, ...]:
    """A leading `top1.` and a final `.value` may be left out."""
    path = tuple(text.split("."))
    for candidate in (path, ("top1", *path)):
        for whole in (candidate, (*candidate, "value")):
            if whole in PATHS:
                return whole
    names = sorted({".".join(p).removesuffix(".value") for p in PATHS})
    raise UnknownGate(f"nothing in summary.json is called {text!r}; {', '.join(names)}")

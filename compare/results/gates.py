"""Release gates: `negative_flip_rate>0.06` trips when it is true."""

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NUMBER, OTHER = "number", "other"
"""A leaf: what a gate can name, and what it cannot (words, yes or no, lists)."""

_ESTIMATE = dict.fromkeys(("value", "low", "high"), NUMBER)

_VERSION = {
    "version": OTHER,
    "run_id": OTHER,
    "epoch": NUMBER,
    "top1_accuracy": NUMBER,
    "top5_accuracy": NUMBER,
    "expected_calibration_error": NUMBER,
    "log_loss": NUMBER,
    "brier_score": NUMBER,
    "top1": _ESTIMATE,
    "top5": _ESTIMATE,
    "mean_reciprocal_rank": NUMBER,
    "mean_confidence": NUMBER,
    "chosen_on_these_images": OTHER,
    "reliability": OTHER,
}

_PAIRED = {
    "both_right": NUMBER,
    "broken": NUMBER,
    "fixed": NUMBER,
    "both_wrong": NUMBER,
    "delta": _ESTIMATE,
    "mcnemar_mid_p": NUMBER,
    "mcnemar_exact_p": NUMBER,
    "negative_flip_rate": _ESTIMATE,
    "positive_flip_rate": _ESTIMATE,
    "relative_flip_rate": NUMBER,
    "backward_trust": _ESTIMATE,
    "error_compatibility": _ESTIMATE,
    "excess_churn": NUMBER,
    "kappa": NUMBER,
}

NUMBERS: Mapping[str, Any] = {
    "data": dict.fromkeys(("name", "digest", "labelled"), OTHER),
    "a": _VERSION,
    "b": _VERSION,
    "images": NUMBER,
    "missing": NUMBER,
    "top1": _PAIRED,
    "top5": _PAIRED,
    "disagreement_rate": NUMBER,
    "disagreement": dict.fromkeys(("low", "high"), NUMBER),
    "agreement_kappa": NUMBER,
    "mean_reciprocal_rank_delta": _ESTIMATE,
    "calibration_error_delta": _ESTIMATE,
    "log_loss_delta": _ESTIMATE,
    "brier_score_delta": _ESTIMATE,
    "rank_transitions": OTHER,
    "rank_symmetry": dict.fromkeys(("statistic", "degrees_of_freedom", "p"), NUMBER),
    "confidence": {
        "delta": _ESTIMATE,
        "truth_delta": _ESTIMATE,
        "truth_images": NUMBER,
        "table": OTHER,
    },
    "overlap": dict.fromkeys(
        ("top5", "rank_biased_overlap", "jensen_shannon_lower_bound"), NUMBER
    ),
    "class_regressions": NUMBER,
    "class_improvements": NUMBER,
    "classes": dict.fromkeys(("tested", "could_be_flagged"), NUMBER),
    "confusions": dict.fromkeys(("gained", "lost"), OTHER),
    "slices": OTHER,
    "probe": dict.fromkeys(("images", "differing"), NUMBER),
    "label_suspects": OTHER,
}
"""Behind the verdict, its reasons, notes and gates, in the file's order."""


def without_values(shape: Mapping[str, Any] = NUMBERS) -> dict[str, Any]:
    """Every key, and None at each: what does not exist."""
    return {
        key: without_values(inner) if isinstance(inner, Mapping) else None
        for key, inner in shape.items()
    }


def number_paths(
    shape: Mapping[str, Any] = NUMBERS, *, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for key, inner in shape.items():
        if isinstance(inner, Mapping):
            yield from number_paths(inner, above=(*above, key))
        elif inner == NUMBER:
            yield (*above, key)


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


PATHS = frozenset(number_paths())
"""The numbers of summary.json that a gate can name."""


def gate_names() -> list[str]:
    """Sorted, without the ends of intervals: `top1.delta`, but not `top1.delta.low`."""
    return sorted(
        ".".join(path).removesuffix(".value")
        for path in PATHS
        if path[-1] not in ("low", "high") or (*path[:-1], "value") not in PATHS
    )


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
    names = gate_names()
    short = [name.removeprefix("top1.") for name in names]
    alike = difflib.get_close_matches(text, dict.fromkeys([*short, *names]), n=3)
    hint = f"did you mean {' or '.join(alike)}? " if alike else ""
    raise UnknownGate(
        f"nothing in summary.json is called {text!r} and a number; {hint}there are "
        f"{', '.join(names)}, and .low and .high of each interval"
    )

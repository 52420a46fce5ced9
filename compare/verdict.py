"""The one object that terminal, files and exit code are drawn from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from compare.agreement import (
    BoolArray,
    ClassChange,
    TopFive,
    class_changes,
    expected_calibration_error,
    paired_table,
    rank_transitions,
)
from compare.comparison import Comparison
from compare.contract import ServedVersion
from compare.gates import Gate, value_at
from compare.intervals import (
    mcnemar_exact,
    mcnemar_mid_p,
    paired_difference,
    share,
)

SCHEMA = 1


@dataclass(frozen=True)
class Verdict:
    summary: dict[str, Any]
    """summary.json."""

    classes: tuple[ClassChange, ...]

    @property
    def name(self) -> Literal["pass", "fail", "not_comparable"]:
        name: Literal["pass", "fail", "not_comparable"] = self.summary["verdict"]
        return name


def judge(
    comparison: Comparison,
    *,
    a: ServedVersion,
    b: ServedVersion,
    gates: Sequence[Gate],
    notes: Sequence[str] = (),
) -> Verdict:
    """`notes` are said in every report and change nothing."""
    a_ranks, b_ranks = comparison.a_ranks, comparison.b_ranks
    top1 = {"baseline": a_ranks == 1, "candidate": b_ranks == 1}
    top5 = {"baseline": a_ranks > 0, "candidate": b_ranks > 0}
    classes = class_changes(comparison.targets, **top1)
    count = len(comparison.names)
    numbers: dict[str, Any] = {
        "a": _one_version(a, comparison.a, top1["baseline"], top5["baseline"]),
        "b": _one_version(b, comparison.b, top1["candidate"], top5["candidate"]),
        "images": count,
        "top1": _paired(**top1),
        "top5": _paired(**top5),
        "disagreement_rate": (float(comparison.disagrees.mean()) if count else None),
        "rank_transitions": rank_transitions(baseline=a_ranks, candidate=b_ranks),
        "class_regressions": sum(change.is_regression for change in classes),
        "missing": len(comparison.missing),
    }
    tripped = [gate.trips(value_at(numbers, gate.path)) for gate in gates]
    summary = {
        "schema": SCHEMA,
        "model": a.model,
        "verdict": "fail" if any(tripped) else "pass",
        "reasons": [
            _trip_reason(gate, value_at(numbers, gate.path))
            for gate, trips in zip(gates, tripped, strict=True)
            if trips
        ],
        "notes": list(notes),
        "gates": [
            {
                "expression": gate.expression,
                "value": value_at(numbers, gate.path),
                "tripped": trips,
            }
            for gate, trips in zip(gates, tripped, strict=True)
        ],
        **numbers,
    }
    return Verdict(summary, tuple(classes))


def refuse(
    reasons: Sequence[str],
    *,
    a: ServedVersion,
    b: ServedVersion,
    gates: Sequence[Gate],
    notes: Sequence[str] = (),
) -> Verdict:
    """`not_comparable`: no number exists, so every gate trips."""
    side = {
        "top1_accuracy": None,
        "top5_accuracy": None,
        "expected_calibration_error": None,
    }
    nothing = {"value": None, "low": None, "high": None}
    pair = {
        **dict.fromkeys(("both_right", "broken", "fixed", "both_wrong")),
        "delta": nothing,
        **dict.fromkeys(("mcnemar_mid_p", "mcnemar_exact_p")),
        "negative_flip_rate": nothing,
        "positive_flip_rate": nothing,
    }
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "model": a.model,
        "verdict": "not_comparable",
        "reasons": list(reasons),
        "notes": list(notes),
        "gates": [
            {"expression": gate.expression, "value": None, "tripped": True}
            for gate in gates
        ],
        "a": {**_identity(a), **side},
        "b": {**_identity(b), **side},
        "images": None,
        "top1": pair,
        "top5": pair,
        "disagreement_rate": None,
        "rank_transitions": None,
        "class_regressions": None,
        "missing": None,
    }
    return Verdict(summary, ())


def _trip_reason(gate: Gate, value: float | None) -> str:
    if value is None:
        return f"{gate.expression} cannot be told: there is no value"
    return f"{gate.expression} is true"


def _identity(version: ServedVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        "run_id": version.run_id,
        "epoch": version.epoch,
    }


def _one_version(
    version: ServedVersion, top: TopFive, top1: BoolArray, top5: BoolArray
) -> dict[str, Any]:
    return {
        **_identity(version),
        "top1_accuracy": share(int(top1.sum()), len(top1)).value,
        "top5_accuracy": share(int(top5.sum()), len(top5)).value,
        "expected_calibration_error": expected_calibration_error(
            top.probabilities[:, 0], top1
        ),
    }


def _paired(*, baseline: BoolArray, candidate: BoolArray) -> dict[str, Any]:
    table = paired_table(baseline=baseline, candidate=candidate)
    return {
        **asdict(table),
        "delta": asdict(paired_difference(table)),
        "mcnemar_mid_p": mcnemar_mid_p(table),
        "mcnemar_exact_p": mcnemar_exact(table),
        "negative_flip_rate": asdict(share(table.broken, table.images)),
        "positive_flip_rate": asdict(share(table.fixed, table.images)),
    }

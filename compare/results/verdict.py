"""The one object that terminal, files and exit code are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compare.collect.schema import ServedVersion
from compare.results.comparison import Comparison, DataFacts, Probe
from compare.results.gates import Gate, value_at
from compare.results.summary import (
    no_numbers,
    numbers_with_truth,
    numbers_without_truth,
)
from compare.statistics.classes import ClassChange, class_changes
from compare.statistics.slices import ImageFacts

SCHEMA = 1

Name = Literal["pass", "fail", "no_gate", "not_comparable"]
"""`no_gate`: nothing was asked of the numbers, so nothing passed."""


@dataclass(frozen=True)
class Verdict:
    summary: dict[str, Any]
    """summary.json."""

    classes: tuple[ClassChange, ...]
    """Empty without labels, or where nothing could be compared."""

    @property
    def name(self) -> Name:
        name: Name = self.summary["verdict"]
        return name


def judge(
    comparison: Comparison,
    *,
    a: ServedVersion,
    b: ServedVersion,
    gates: Sequence[Gate],
    notes: Sequence[str] = (),
    data: DataFacts,
    images: ImageFacts | None = None,
    probe: Probe | None = None,
) -> Verdict:
    """`notes` are said in every report and change nothing.

    `images` is None where the files could not be read, `probe` where none was made.
    """
    breaches = _breaches(comparison, probe)
    if breaches:
        return refuse(breaches, a=a, b=b, gates=gates, notes=notes, data=data)
    numbers = no_numbers(a, b, data)
    if not comparison.labelled:
        numbers = numbers_without_truth(comparison, numbers, probe=probe)
        return _verdict(numbers, a.model, gates, notes, classes=())
    classes = class_changes(
        comparison.targets,
        baseline=comparison.a_ranks == 1,
        candidate=comparison.b_ranks == 1,
    )
    numbers = numbers_with_truth(
        comparison, numbers, classes=classes, images=images, probe=probe
    )
    return _verdict(numbers, a.model, gates, notes, classes=classes)


def refuse(
    reasons: Sequence[str],
    *,
    a: ServedVersion,
    b: ServedVersion,
    gates: Sequence[Gate],
    notes: Sequence[str] = (),
    data: DataFacts,
) -> Verdict:
    """`not_comparable`: no number exists, so every gate trips."""
    summary = _document(
        "not_comparable",
        reasons,
        model=a.model,
        notes=notes,
        gates=[_told(gate, None) for gate in gates],
        numbers=no_numbers(a, b, data),
    )
    return Verdict(summary, ())


def _breaches(comparison: Comparison, probe: Probe | None) -> list[str]:
    """Why the answers at hand cannot be judged, if they cannot."""
    breaches = []
    if probe is not None and probe.differing:
        breaches.append(
            f"{probe.differing} of {probe.images} images that were asked twice got "
            "another answer the second time, so a difference between the versions "
            "could be the service's own; see that nothing was loaded anew or is "
            "random, and if the first answers were the odd ones start with --fresh"
        )
    if not comparison.names:
        breaches.append("no image was answered by both versions")
    return breaches


def _verdict(
    numbers: Mapping[str, Any],
    model: str,
    gates: Sequence[Gate],
    notes: Sequence[str],
    *,
    classes: Sequence[ClassChange],
) -> Verdict:
    """Of the gates on the numbers."""
    told = [_told(gate, value_at(numbers, gate.path)) for gate in gates]
    tripped = [entry for entry in told if entry["tripped"]]
    passed: Name = "pass" if told else "no_gate"
    summary = _document(
        "fail" if tripped else passed,
        [*map(_reason, tripped)],
        model=model,
        notes=notes,
        gates=told,
        numbers=numbers,
    )
    return Verdict(summary, tuple(classes))


def _document(
    name: Name,
    reasons: Sequence[str],
    *,
    model: str,
    notes: Sequence[str],
    gates: Sequence[Mapping[str, Any]],
    numbers: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": model,
        "verdict": name,
        "reasons": [*reasons],
        "notes": [*notes],
        "gates": [*gates],
        **numbers,
    }


def _told(gate: Gate, value: float | None) -> dict[str, Any]:
    return {
        "expression": gate.expression,
        "value": value,
        "tripped": gate.trips(value),
    }


def _reason(told: Mapping[str, Any]) -> str:
    if told["value"] is None:
        return f"{told['expression']} cannot be told: there is no value"
    return f"{told['expression']} is true"

"""The verdict and every report, drawn from what a comparison's folder keeps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.answers import PairOfAnswers
from compare.comparison import Comparison, NotComparable, align, check_classes
from compare.files import (
    RUN,
    remove_results,
    write_per_class,
    write_per_image,
    write_run,
    write_summary,
)
from compare.gates import Gate
from compare.record import Record
from compare.verdict import Verdict, judge, refuse


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was found, for those who say it, log it or act on it."""

    folder: Path
    record: Record
    verdict: Verdict
    comparison: Comparison | None
    """None where the versions could not be compared."""


def set_side_by_side(
    record: Record, answers: Mapping[str, PairOfAnswers]
) -> Comparison:
    """NotComparable where classes differ or more images than allowed have no answer."""
    check_classes(record.class_ids, record.a, record.b)
    comparison = align(record.names, record.class_ids, answers, a=record.a, b=record.b)
    if len(comparison.missing) > record.allow_missing:
        name, why = next(iter(comparison.missing.items()))
        raise NotComparable(
            f"{len(comparison.missing)} of {len(record.names)} images have no answer "
            f"({record.allow_missing} are allowed), such as {name}: {why}; mend them, "
            "or allow them with --allow-missing",
            missing=comparison.missing,
        )
    return comparison


def draw(
    folder: Path,
    record: Record,
    found: Comparison | NotComparable,
    *,
    gates: Sequence[Gate],
    facts: Mapping[str, Any],
) -> Drawn:
    """Writes every file of the folder that is for reading; `facts` are run.json's."""
    facts = {**facts, "missing": dict(found.missing)}
    if isinstance(found, NotComparable):
        remove_results(folder)  # rows of an earlier run beside a refusal would lie
        comparison = None
        verdict = refuse(
            [str(found)], a=record.a, b=record.b, gates=gates, notes=record.notes
        )
    else:
        comparison = found
        verdict = judge(found, a=record.a, b=record.b, gates=gates, notes=record.notes)
        write_per_image(folder, found)
        write_per_class(folder, verdict, found.labels)
    write_summary(folder, verdict)
    write_run(folder, facts)
    return Drawn(folder=folder, record=record, verdict=verdict, comparison=comparison)


def read_facts(folder: Path) -> dict[str, Any]:
    """run.json; empty where there is none."""
    try:
        facts: dict[str, Any] = json.loads((folder / RUN).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts

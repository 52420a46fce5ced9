"""The verdict and every report, drawn from what a comparison's folder keeps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare.answers import PairOfAnswers
from compare.comparison import (
    NOT_ANSWERED,
    Comparison,
    NotComparable,
    align,
    check_coverage,
)
from compare.facts import DataFacts, Probe
from compare.files import (
    MARKDOWN,
    RUN,
    remove_results,
    write_per_class,
    write_per_image,
    write_run,
    write_summary,
)
from compare.gates import Gate
from compare.html_report import Report, write_report
from compare.image_facts import facts_of
from compare.markdown_report import write_markdown
from compare.record import Record
from compare.thumbnails import Thumbnails
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
    """NotComparable where more images than allowed have no answer.

    All know the same classes: check_classes() has been asked.
    """
    comparison = align(record.names, record.class_ids, answers, a=record.a, b=record.b)
    check_coverage(comparison, allow_missing=record.allow_missing)
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
    facts = {**facts, "missing": _missing(found, told=facts.get("missing", {}))}
    verdict = _judged(folder, record, found, gates=gates, probe=facts.get("probe"))
    if verdict.name == "not_comparable" or isinstance(found, NotComparable):
        remove_results(folder)  # rows of an earlier run beside a refusal would lie
        comparison = None
    else:
        comparison = found
        write_per_image(folder, comparison)
        write_per_class(folder, verdict, comparison.labels)
    write_summary(folder, verdict)
    write_run(folder, facts)
    report = Report(
        summary=verdict.summary,
        comparison=comparison,
        classes=verdict.classes,
        facts=facts,
        thumbnails=Thumbnails.load(folder),
    )
    write_report(folder, report)
    write_markdown(folder / MARKDOWN, summary=verdict.summary, facts=facts)
    return Drawn(folder=folder, record=record, verdict=verdict, comparison=comparison)


def _missing(
    found: Comparison | NotComparable, *, told: Mapping[str, str]
) -> dict[str, str]:
    """Images and why; `told` was said of them when they were asked about."""
    return {
        name: told.get(name, why) if why == NOT_ANSWERED else why
        for name, why in found.missing.items()
    }


def _judged(
    folder: Path,
    record: Record,
    found: Comparison | NotComparable,
    *,
    gates: Sequence[Gate],
    probe: Mapping[str, int] | None,
) -> Verdict:
    data = DataFacts(
        record.data_name, record.data_digest, labelled=record.class_ids is not None
    )
    if isinstance(found, NotComparable):
        return refuse(
            [str(found)],
            a=record.a,
            b=record.b,
            gates=gates,
            notes=record.notes,
            data=data,
        )
    return judge(
        found,
        a=record.a,
        b=record.b,
        gates=gates,
        notes=record.notes,
        data=data,
        images=facts_of(folder, found.names),
        probe=None if probe is None else Probe(**probe),
    )


def read_facts(folder: Path) -> dict[str, Any]:
    """run.json; empty where there is none."""
    try:
        facts: dict[str, Any] = json.loads((folder / RUN).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts

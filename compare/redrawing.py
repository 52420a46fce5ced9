"""--from: reports drawn again, as if the kept answers had just been given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.answers import PairOfAnswers, read_answers
from compare.comparison import Comparison, NotComparable, check_classes
from compare.config import RedrawConfig
from compare.drawing import Drawn, draw, read_facts, set_side_by_side
from compare.record import Record, read_record
from compare.telling import copy_summary, tell


class Unfinished(RuntimeError):
    """The folder lacks what only the service can tell."""


def redraw(config: RedrawConfig) -> Drawn:
    """All reports again: no service, no data, no store."""
    folder = config.folder
    record = read_record(folder)
    found, facts = _find_kept(folder, record, read_answers(folder))
    gates = record.gates if config.gates is None else config.gates
    drawn = draw(folder, record, found, gates=gates, facts=facts)
    tell(drawn, show=config.show)
    copy_summary(drawn, config.summary_md)
    return drawn


def _find_kept(
    folder: Path, record: Record, answers: Mapping[str, PairOfAnswers]
) -> tuple[Comparison | NotComparable, dict[str, Any]]:
    """Both versions side by side, or why not; and run.json's facts.

    Unfinished where the comparison was stopped before its end.
    """
    facts = read_facts(folder)
    try:
        check_classes(record.class_ids or (), record.a, record.b)
        _check_finished(folder, record, answers)
        comparison = set_side_by_side(record, answers)
    except NotComparable as error:
        return error, facts
    if "probe" not in facts:
        raise _unfinished(folder, record, "its answers were not asked for again yet")
    return comparison, facts


def _check_finished(
    folder: Path, record: Record, answers: Mapping[str, PairOfAnswers]
) -> None:
    unasked = sum(name not in answers for name in record.names)
    if unasked > record.allow_missing:
        total = len(record.names)
        done = f"{total - unasked:,} of {total:,} images are answered"
        raise _unfinished(folder, record, done)


def _unfinished(folder: Path, record: Record, state: str) -> Unfinished:
    return Unfinished(
        f"the comparison in {folder} was not finished: {state}; go on with python -m "
        f"compare --a v{record.a.number} --b v{record.b.number} --out {folder}, and "
        "with the --model, --data and --limit that it began with"
    )

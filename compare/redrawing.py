"""--from: the answers that a folder keeps, as if they had just been given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.answers import PairOfAnswers
from compare.comparison import Comparison, NotComparable, check_classes
from compare.drawing import read_facts, set_side_by_side
from compare.record import Record


class Unfinished(RuntimeError):
    """The folder lacks what only the service can tell."""


def find_kept(
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
        f"compare --a v{record.a.number} --b v{record.b.number} --out {folder}"
    )

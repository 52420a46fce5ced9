"""Draws the verdict and every report, from fresh answers or from a kept folder."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from classifier.bundle.labels import check_class_map_is_for_the_rest
from classifier.console.exits import NotNow
from classifier.storage import remove_files, writing
from compare.collect.answer_store import PairOfAnswers, read_answers
from compare.collect.image_statistics import facts_of
from compare.collect.offline.files import read_long_answers
from compare.config.settings import RedrawConfig
from compare.report.html.gallery import Thumbnails
from compare.report.html.page import write_report
from compare.report.markdown import write_markdown
from compare.report.terminal import print_lines, report_lines, shown_lines
from compare.results.comparison import (
    NOT_ANSWERED,
    Comparison,
    NotComparable,
    align,
    check_classes,
    check_coverage,
)
from compare.results.folder import (
    MARKDOWN,
    REPORTS,
    RunFacts,
    export_answers,
    read_run,
    run_facts,
    write_per_class,
    write_per_image,
    write_run,
    write_summary,
)
from compare.results.gates import Gate
from compare.results.record import Record, read_record
from compare.results.summary import DataFacts
from compare.results.verdict import Verdict, judge, refuse


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A drawn comparison, to print, to log and to act on."""

    folder: Path
    record: Record
    verdict: Verdict
    comparison: Comparison | None
    """None if the versions could not be compared."""


def check_record(record: Record) -> None:
    """Raises NotComparable if versions and data have too few classes in common.

    Raises BadClassMap for a folder made when the map's pairs came before equal ids, if
    that would change its numbers.
    """
    labels = record.a.labels, record.b.labels
    check_class_map_is_for_the_rest(record.class_map, *labels)
    class_ids = record.class_ids or ()
    check_classes(class_ids, record.a, record.b, record.class_map)
    if record.left_out and not record.names:
        raise NotComparable("no image is of a class that both versions have")


def set_side_by_side(
    folder: Path, record: Record, answers: Mapping[str, PairOfAnswers]
) -> Comparison:
    """Align the answers. Raises NotComparable if too many images have none.

    Call check_record() first.
    """
    comparison = align(
        record.names,
        record.class_ids,
        answers,
        a=record.a,
        b=record.b,
        class_map=record.class_map,
        left_out=sum(record.left_out.values()),
        a_file=read_long_answers(folder, "a", record.a),
        b_file=read_long_answers(folder, "b", record.b),
    )
    check_coverage(comparison, allow_missing=record.allow_missing)
    return comparison


def draw(
    folder: Path,
    record: Record,
    found: Comparison | NotComparable,
    *,
    gates: Sequence[Gate],
    facts: Mapping[str, object],
) -> Drawn:
    """Write every file of the folder that is for reading; `facts` is run.json's."""
    facts = {**facts, "missing": _missing(found, known=run_facts(facts).missing)}
    run = run_facts(facts)
    verdict = _judged(folder, record, found, gates=gates, run=run)
    if verdict.name == "not_comparable" or isinstance(found, NotComparable):
        # Tables of an earlier run would contradict the refusal.
        remove_files(folder, REPORTS)
        comparison = None
    else:
        comparison = found
        write_per_image(folder, comparison)
        write_per_class(folder, verdict.classes, comparison.labels)
    write_summary(folder, verdict.summary)
    write_run(folder, facts)
    thumbnails = Thumbnails.load(folder)
    write_report(folder, verdict, comparison, facts=run, thumbnails=thumbnails)
    write_markdown(folder / MARKDOWN, summary=verdict.summary, facts=run)
    return Drawn(folder=folder, record=record, verdict=verdict, comparison=comparison)


def _missing(
    found: Comparison | NotComparable, *, known: Mapping[str, str]
) -> dict[str, str]:
    """Images without an answer, and why; `known` has the reasons of an earlier run."""
    return {
        name: known.get(name, why) if why == NOT_ANSWERED else why
        for name, why in found.missing.items()
    }


def _judged(
    folder: Path,
    record: Record,
    found: Comparison | NotComparable,
    *,
    gates: Sequence[Gate],
    run: RunFacts,
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
        probe=run.probe,
    )


def print_drawn(drawn: Drawn, *, show: int) -> None:
    data, folder = drawn.record.data_name, drawn.folder
    lines = report_lines(drawn.verdict, data=data, folder=folder)
    if drawn.comparison is not None and show:
        lines += ["", *shown_lines(drawn.comparison, show)]
    print_lines(lines)


def copy_results(
    drawn: Drawn, *, summary: Path | None, exports: Sequence[tuple[str, Path]]
) -> None:
    """Raises BadPlace or NotWritable if that fails, so it is called last."""
    ours = drawn.folder / MARKDOWN
    if summary is not None and summary.resolve() != ours.resolve():
        with writing(f"write {summary}", remedy="name another file with --summary-md"):
            shutil.copyfile(ours, summary)
    export_answers(drawn.folder, drawn.record, exports)


class Unfinished(NotNow, RuntimeError):
    """The folder lacks answers that only the service can give."""


def redraw(config: RedrawConfig) -> Drawn:
    """Draw all reports again, without service, data or store."""
    folder = config.folder
    record = read_record(folder)
    found, facts = _find_kept(folder, record, read_answers(folder))
    gates = record.gates if config.gates is None else config.gates
    drawn = draw(folder, record, found, gates=gates, facts=facts)
    print_drawn(drawn, show=config.show)
    copy_results(drawn, summary=config.summary_md, exports=config.exports)
    return drawn


def _find_kept(
    folder: Path, record: Record, answers: Mapping[str, PairOfAnswers]
) -> tuple[Comparison | NotComparable, dict[str, object]]:
    """The comparison or the reason against it, and the document of run.json.

    Raises Unfinished if the comparison was stopped before its end.
    """
    facts = read_run(folder)
    try:
        check_record(record)
        _check_finished(folder, record, answers)
        comparison = set_side_by_side(folder, record, answers)
    except NotComparable as error:
        return error, facts
    if "probe" not in facts:
        raise _unfinished(
            folder, record, "its answers were not checked by repeated requests"
        )
    return comparison, facts


def _check_finished(
    folder: Path, record: Record, answers: Mapping[str, PairOfAnswers]
) -> None:
    unanswered = sum(name not in answers for name in record.names)
    if unanswered > record.allow_missing:
        total = len(record.names)
        done = f"{total - unanswered:,} of {total:,} images are answered"
        raise _unfinished(folder, record, done)


def _unfinished(folder: Path, record: Record, state: str) -> Unfinished:
    a, b = record.shown_names
    return Unfinished(
        f"the comparison in {folder} was not finished: {state}; continue it with "
        f"python -m compare --a {a} --b {b} "
        f"--out {folder}, and with the --model, --data and --limit of its start"
    )

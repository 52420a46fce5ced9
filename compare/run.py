"""The story of a comparison: collect both versions' answers, judge, report, log."""

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compare.collect.answer_store import AnswerStore, PairOfAnswers
from compare.collect.client import ServedOtherwise
from compare.collect.collector import Sources, collect_answers
from compare.collect.image_statistics import Look
from compare.collect.images import Images
from compare.collect.local_service import OwnService
from compare.collect.offline.networks import VersionNetworks
from compare.collect.probes import Timed, count_differing, measure_latency
from compare.config.settings import CompareConfig
from compare.question import Question, default_folder, open_question, open_record
from compare.report.differing import write_differing
from compare.report.draw import (
    Drawn,
    check_record,
    copy_results,
    draw,
    print_drawn,
    set_side_by_side,
)
from compare.report.html.gallery import keep_pictures
from compare.report.terminal import print_lines
from compare.results.comparison import Comparison, NotComparable
from compare.results.folder import read_run, run_facts
from compare.results.record import Record

SHORT_PATIENCE_SECONDS = 3.0
"""Patience while the latency is measured: a request that is retried does not count."""


@dataclass(frozen=True)
class Collected:
    """Both versions' answers in a folder, before anything is drawn."""

    folder: Path
    images: Images
    record: Record
    found: Comparison | NotComparable
    facts: Mapping[str, object]
    """What was measured, and of whom, for run.json."""


def compare_versions(config: CompareConfig, early: OwnService | None = None) -> Drawn:
    """Compare, and write, print and log the result.

    `early` is a service of our own that is being started for this comparison. While it
    starts, MLflow is imported and the first images are looked at.
    """
    started = time.time()
    with open_question(config, early) as question:
        collected = collect(question, config)
    return report(
        collected,
        config,
        started=started,
        seen=question.seen,
        is_logged=question.is_logged,
    )


def collect(question: Question, config: CompareConfig) -> Collected:
    """Make or continue the folder, and add the answers that it lacks."""
    sources = question.sources
    folder = config.out or default_folder(question.a.version, question.b.version)
    images, record = open_record(folder, question, config)
    found, measured = _compare(sources, images, folder, record, config)
    facts = {"url": sources.url, "retries": sources.retries, **measured}
    return Collected(folder, images, record, found, facts)


def report(
    collected: Collected,
    config: CompareConfig,
    *,
    started: float,
    seen: Mapping[str, Look],
    is_logged: bool,
) -> Drawn:
    """Draw and print the reports, then log, promote and copy as `config` says."""
    folder, images, found = collected.folder, collected.images, collected.found
    if isinstance(found, Comparison) and images.files:
        keep_pictures(
            folder, images, found, seen=seen, max_megapixels=config.max_megapixels
        )
        write_differing(folder, collected.record, images, found)
    facts = {
        "started_unix_seconds": started,
        "seconds": time.time() - started,
        "data": images.source,
        "differences": _differences(collected, is_logged=is_logged),
        **collected.facts,
    }
    drawn = draw(folder, collected.record, found, gates=config.gates, facts=facts)
    print_drawn(drawn, show=config.show)
    try:
        _log_and_promote(drawn, is_logged=is_logged, alias=config.promote)
    finally:
        copy_results(drawn, summary=config.summary_md, exports=config.exports)
    return drawn


def _differences(collected: Collected, *, is_logged: bool) -> object:
    """What differs between the versions' runs, for run.json; null if it is not known.

    Without a store it stays what an earlier run found.
    """
    if is_logged:
        from compare.mlflow_log import find_differences

        found = find_differences(collected.record)
        if found is not None:
            return [asdict(each) for each in found]
    return read_run(collected.folder).get("differences")


def _log_and_promote(drawn: Drawn, *, is_logged: bool, alias: str | None) -> None:
    if is_logged:
        from compare.mlflow_log import try_to_log

        try_to_log(drawn)
    if alias is not None:
        from compare.mlflow_log import promote

        print_lines([promote(drawn, alias)])


def _compare(
    sources: Sources,
    images: Images,
    folder: Path,
    record: Record,
    config: CompareConfig,
) -> tuple[Comparison | NotComparable, dict[str, object]]:
    """The comparison, or why there is none; and what was measured, for run.json."""
    try:
        check_record(record)
        # In sampling order: the answers of a sample stay when it grows.
        ordered = images.in_sampling_order()
        answers, is_new = collect_all(sources, ordered, folder, record, config)
        comparison = set_side_by_side(folder, record, answers)
    except NotComparable as error:
        return error, {}
    except ServedOtherwise as error:
        return NotComparable(str(error)), {}
    if not sources.reads_images:  # kept answers alone: nobody could be asked twice
        return comparison, {"probe": None, **_no_latency(sources, record)}
    measured_of = names_digest(comparison.names)
    measured = {} if is_new else measured_before(folder, measured_of)
    if not measured:
        answered = images.only(comparison.names)
        measured = _measure(sources, answered, answers, record, config)
        measured["measured_of"] = measured_of
    return comparison, measured


def collect_all(
    sources: Sources,
    images: Images,
    folder: Path,
    record: Record,
    config: CompareConfig,
) -> tuple[Mapping[str, PairOfAnswers], bool]:
    """All answers, with this run's failures among them; and whether any is new."""
    with AnswerStore(folder) as store:
        before = len(store.kept)
        if (networks := sources.only(VersionNetworks)) is not None:
            from compare.collect.offline.on_ray import answer_on_ray

            answer_on_ray(
                networks,
                images,
                store,
                (record.a, record.b),
                batch_size=config.batch_size,
            )
        else:
            collect_answers(
                sources,
                images,
                store,
                a=record.a,
                b=record.b,
                batch_size=config.batch_size,
                concurrency=config.concurrency,
            )
        return {**store.failed, **store.kept}, len(store.kept) > before


def names_digest(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def measured_before(folder: Path, measured_of: str) -> dict[str, object]:
    """Probe and latency of an earlier run.

    Empty if they were of other images, or if the probe found other answers.
    """
    facts = read_run(folder)
    probe = run_facts(facts).probe
    is_same = facts.get("measured_of") == measured_of
    if not is_same or probe is None or probe.differing != 0:
        return {}
    names = ("probe", "latency", "latency_note", "measured_of")
    return {name: facts[name] for name in names if name in facts}


def _measure(
    sources: Sources,
    images: Images,
    answers: Mapping[str, PairOfAnswers],
    record: Record,
    config: CompareConfig,
) -> dict[str, object]:
    """The latency and the probe, for which the answers to timed requests count too.

    Raises ServiceUnavailable if the probe cannot be made.
    """
    if sources.are_services:
        with contextlib.closing(sources.hasty(SHORT_PATIENCE_SECONDS)) as hasty:
            timed = measure_latency(hasty, images, record.a, record.b)
    else:
        timed = Timed(_no_latency(sources, record), {})
    repeated, differing = count_differing(
        sources.predict,
        images,
        answers,
        again=timed.answers,
        a=record.a,
        b=record.b,
        batch_size=config.batch_size,
    )
    return {"probe": {"images": repeated, "differing": differing}, **timed.facts}


def _no_latency(sources: Sources, record: Record) -> dict[str, object]:
    files = [v.number for v in (record.a, record.b) if v.file_sha256 is not None]
    note = "not measured: the answers are from a service's users"
    if sources.only(VersionNetworks) is not None:
        note = "not measured: the networks ran without a service"
    elif files:
        note = f"not measured: {files[0]} is a file, which no service answers with"
    return {"latency": None, "latency_note": note}

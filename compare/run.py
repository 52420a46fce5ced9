"""The story of a comparison, from two names to a verdict and what follows from it."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from classifier.console import printable
from classifier.store.location import is_there_a_store
from compare.collect.answer_store import AnswerStore, PairOfAnswers, open_folder
from compare.collect.client import Service
from compare.collect.collector import collect_answers
from compare.collect.image_statistics import Look, look_at
from compare.collect.images import Images, find_images, open_images
from compare.collect.local_service import OwnService
from compare.collect.probes import count_differing, measure_latency
from compare.collect.schema import ServedVersion
from compare.collect.service import find_service
from compare.config import CompareConfig
from compare.report.draw import (
    Drawn,
    copy_summary,
    draw,
    print_drawn,
    set_side_by_side,
)
from compare.report.html.gallery import keep_pictures
from compare.results.comparison import Comparison, NotComparable, check_classes
from compare.results.folder import read_run, remove_everything, run_facts
from compare.results.record import Record, keep_record

SHORT_PATIENCE_SECONDS = 3.0
"""The latency is not waited for; what it lacks of the probe is asked with patience."""


def ask_service(
    service: Service,
    images: Images,
    folder: Path,
    record: Record,
    config: CompareConfig,
) -> tuple[Comparison | NotComparable, dict[str, Any]]:
    """Both versions side by side, or why not; and what was measured, for run.json."""
    try:
        check_classes(record.class_ids or (), record.a, record.b)
        answers, is_new = _collect(service, images, folder, record, config)
        comparison = set_side_by_side(record, answers)
    except NotComparable as error:
        return error, {}
    of = hashlib.sha256("\n".join(comparison.names).encode()).hexdigest()
    measured = {} if is_new else _measured_before(folder, of)
    if not measured:
        answered = images.only(comparison.names)
        measured = _measure(service, answered, answers, record, config)
        measured["measured_of"] = of
    return comparison, measured


def _collect(
    service: Service,
    images: Images,
    folder: Path,
    record: Record,
    config: CompareConfig,
) -> tuple[Mapping[str, PairOfAnswers], bool]:
    """All answers, what failed this time among them; and whether any is new."""
    with AnswerStore(folder) as store:
        before = len(store.kept)
        collect_answers(
            service,
            images.in_sampling_order(),  # so that answers to a sample are kept whole
            store,
            a=record.a,
            b=record.b,
            batch_size=config.batch_size,
            concurrency=config.concurrency,
        )
        return {**store.failed, **store.kept}, len(store.kept) > before


def _measured_before(folder: Path, of: str) -> dict[str, Any]:
    """Empty where that was of other images, or not what a comparison can rest on."""
    facts = read_run(folder)
    probe = run_facts(facts).probe
    if facts.get("measured_of") != of or probe is None or probe.differing != 0:
        return {}
    names = ("probe", "latency", "latency_note", "measured_of")
    return {name: facts[name] for name in names if name in facts}


def _measure(
    service: Service,
    images: Images,
    answers: Mapping[str, PairOfAnswers],
    record: Record,
    config: CompareConfig,
) -> dict[str, Any]:
    """The latency, whose answers are the probe's too as far as there are any.

    ServiceUnavailable where the probe cannot be made.
    """
    hasty = Service(
        service.url,
        patience_seconds=min(config.patience, SHORT_PATIENCE_SECONDS),
        key=config.key,
    )
    with contextlib.closing(hasty):
        timed = measure_latency(hasty, images, record.a, record.b)
    asked, differing = count_differing(
        service.ask,
        images,
        answers,
        again=timed.answers,
        a=record.a,
        b=record.b,
        batch_size=config.batch_size,
    )
    return {"probe": {"images": asked, "differing": differing}, **timed.facts}


def compare_versions(config: CompareConfig, early: OwnService | None = None) -> Drawn:
    """Asks both about every image; writes, says and logs what follows from it.

    `early` is a service that is being started for it.
    """
    started = time.time()
    images: Images | None = None
    follow: Sequence[Callable[[Drawn], None]] = ()
    seen: Mapping[str, Look] = {}
    if early is not None:  # meanwhile; another's is asked first whether it is there
        follow = _followers(config)
        images = open_images(
            config.data,
            model=config.model,
            version=config.a,
            limit=config.limit,
            cache=config.cache,
        )
        seen = look_at(
            images.names,
            images.files,
            max_megapixels=config.max_megapixels,
            until=early.has_started,
        )
    with find_service(
        early,
        url=config.url,
        model=config.model,
        versions=(config.a, config.b),
        key=config.key,
        patience_seconds=config.patience,
        max_megapixels=config.max_megapixels,
    ) as service:
        a, b = service.version(config.a), service.version(config.b)
        images = images or find_images(
            config.data,
            model=a.model,
            version=a.number,
            limit=config.limit,
            cache=config.cache,
        )
        follow = follow or _followers(config)
        folder = config.out or Path(f"compare-v{a.number}-v{b.number}")
        record = _open(folder, _record(config, images, a, b), fresh=config.fresh)
        found, measured = ask_service(service, images, folder, record, config)
    if isinstance(found, Comparison):
        keep_pictures(
            folder, images, found, seen=seen, max_megapixels=config.max_megapixels
        )
    facts = {
        "started_unix_seconds": started,
        "seconds": time.time() - started,
        "url": service.url,
        "retries": service.retries,
        "data": images.source,
        **measured,
    }
    drawn = draw(folder, record, found, gates=config.gates, facts=facts)
    print_drawn(drawn, show=config.show)
    try:
        for act in follow:
            act(drawn)
    finally:
        copy_summary(drawn, config.summary_md)
    return drawn


def _followers(config: CompareConfig) -> Sequence[Callable[[Drawn], None]]:
    """What is done in the store at the end.

    StoreUnavailable where there is none to promote in: better said before the asking.
    """
    follow: list[Callable[[Drawn], None]] = []
    # Imported here: MLflow takes a second.
    if not config.no_mlflow and is_there_a_store():
        from compare.mlflow_log import try_to_log

        follow.append(try_to_log)
    if (alias := config.promote) is not None:
        from classifier.store.registry import Registry
        from compare.mlflow_log import promote

        Registry()
        follow.append(lambda drawn: print(printable(promote(drawn, alias))))
    return follow


def _record(
    config: CompareConfig, images: Images, a: ServedVersion, b: ServedVersion
) -> Record:
    return Record(
        a=a,
        b=b,
        data_name=images.data_name,
        data_digest=images.digest,
        names=images.names,
        class_ids=images.class_ids,
        available=images.available,
        data_notes=images.notes,
        gates=config.gates,
        allow_missing=config.allow_missing,
    )


def _open(folder: Path, record: Record, *, fresh: bool) -> Record:
    """The folder is about this comparison then; ForeignFolder if it cannot be."""
    if fresh:
        remove_everything(folder)
    open_folder(folder, record.identity, fresh=fresh)
    return keep_record(folder, record)

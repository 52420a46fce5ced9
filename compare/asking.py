"""What only a live service can tell: answers, if they repeat, how long they take."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.answers import AnswerStore, PairOfAnswers
from compare.client import Service
from compare.collect import collect_answers
from compare.comparison import Comparison, NotComparable, check_classes
from compare.config import CompareConfig
from compare.drawing import read_facts, set_side_by_side
from compare.images import Images
from compare.latency import measure_latency
from compare.probing import count_differing
from compare.record import Record

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
    facts = read_facts(folder)
    if facts.get("measured_of") != of or facts.get("probe", {}).get("differing") != 0:
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

"""`--shard 3/16`: the answers to a part of the images, in a folder of its own."""

import time
from collections.abc import Mapping
from pathlib import Path

from classifier.console.exits import NotNow
from classifier.storage import write_json
from compare.collect.answer_store import (
    PairOfAnswers,
    is_final,
)
from compare.collect.image_statistics import keep_looks
from compare.collect.images import Images
from compare.collect.local_service import OwnService
from compare.collect.probes import PROBED, count_differing, spread
from compare.collect.schema import TopAnswer
from compare.config.settings import CompareConfig
from compare.question import (
    Question,
    default_folder,
    open_question,
    open_record,
)
from compare.report.draw import check_record
from compare.report.terminal import print_lines
from compare.results.comparison import (
    NotComparable,
    failure_of,
)
from compare.results.folder import write_run
from compare.results.record import (
    Record,
)
from compare.run import collect_all, measured_before, names_digest

FILES = "files.json"
"""Where a shard's images lie, for the pictures of the report."""


class ShardUnfinished(NotNow, RuntimeError):
    """Shards are missing, or images of a shard are unanswered."""


def ask_shard(config: CompareConfig, early: OwnService | None = None) -> None:
    """Ask for the images of `config.shard`, and keep the answers in its folder.

    Raises ShardUnfinished if images stay unanswered, or if nothing can be compared.
    """
    assert config.shard is not None
    started = time.time()
    with open_question(config, early) as question:
        parent = config.out or default_folder(question.a.version, question.b.version)
        folder = parent / config.shard.folder
        images, record = open_record(folder, question, config)
        try:
            check_record(record)
        except NotComparable as error:
            raise ShardUnfinished(str(error)) from error
        own = images.in_sampling_order().of_shard(config.shard)
        sources = question.sources
        answers, is_new = collect_all(sources, own, folder, record, config)
        probed = images.only(_to_repeat(images, own, answers))
        facts = {} if is_new else measured_before(folder, names_digest(probed.names))
        facts = facts or _measure(question, probed, answers, record, config)
        if own.files:
            _keep_files(folder, own, question, config)
    missing = {
        name: why
        for name in own.names
        if (why := failure_of(name, answers, record.a, record.b))
    }
    write_run(
        folder,
        {
            "started_unix_seconds": started,
            "seconds": time.time() - started,
            "data": images.source,
            "url": sources.url,
            "retries": sources.retries,
            "missing": missing,
            **facts,
        },
    )
    _check_asked(config, own, answers, missing)
    print_lines(
        [f"shard {config.shard}: {len(own):,} of {len(images):,} images, in {folder}"]
    )


def _to_repeat(
    images: Images, own: Images, answers: Mapping[str, PairOfAnswers]
) -> list[str]:
    """The shard's part of the images that a comparison without shards asks twice.

    For one that has no answers another of the shard is asked, so that all shards
    together ask for as many.
    """
    answered = {name for name in own.names if _is_answered(answers.get(name))}
    chosen = set(spread(images.names, PROBED))
    lost = sum(name in chosen and name not in answered for name in own.names)
    spare = [n for n in own.names if n in answered and n not in chosen][:lost]
    return [*(chosen & answered), *spare]


def _is_answered(pair: PairOfAnswers | None) -> bool:
    return pair is not None and all(isinstance(each, TopAnswer) for each in pair)


def _measure(
    question: Question,
    probed: Images,
    answers: Mapping[str, PairOfAnswers],
    record: Record,
    config: CompareConfig,
) -> dict[str, object]:
    """The probe, for run.json. A shard measures no latency."""
    sources = question.sources
    if not sources.reads_images:
        return {"probe": None}
    repeated, differing = count_differing(
        sources.predict,
        probed,
        answers,
        again={},
        a=record.a,
        b=record.b,
        batch_size=config.batch_size,
    )
    return {
        "probe": {"images": repeated, "differing": differing},
        "measured_of": names_digest(probed.names),
    }


def _keep_files(
    folder: Path, own: Images, question: Question, config: CompareConfig
) -> None:
    """What the report needs of the images themselves."""
    keep_looks(
        folder,
        own.names,
        own.files,
        question.seen,
        max_megapixels=config.max_megapixels,
    )
    write_json(folder / FILES, dict(zip(own.names, map(str, own.files), strict=True)))


def _check_asked(
    config: CompareConfig,
    own: Images,
    answers: Mapping[str, PairOfAnswers],
    missing: Mapping[str, str],
) -> None:
    """Raises ShardUnfinished if the same command may bring more answers.

    An image that cannot be decoded has its answer: --join decides what that means.
    """
    again = [n for n in own.names if n not in answers or not is_final(answers[n])]
    if len(again) > config.allow_missing:
        raise ShardUnfinished(
            f"{len(again):,} of the {len(own):,} images of shard {config.shard} stay "
            f"unanswered, such as {again[0]}: {missing[again[0]]}; the same command "
            "asks for them again"
        )

"""`--join FOLDER`: one comparison of all shards, with the bytes of a single run."""

import json
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from classifier.console.exits import WrongUsage
from classifier.storage import remove_files
from compare.collect.answer_store import (
    ANSWERS,
    AnswerStore,
    PairOfAnswers,
    read_answers,
)
from compare.collect.image_statistics import join_looks
from compare.collect.images import Images, Shard
from compare.collect.offline.files import KEPT_ANSWERS
from compare.config.settings import CompareConfig, JoinConfig
from compare.gathered.shards import FILES, ShardUnfinished
from compare.question import (
    prepare_store,
)
from compare.report.draw import Drawn, check_record, set_side_by_side
from compare.results.comparison import (
    Comparison,
    NotComparable,
)
from compare.results.folder import read_run, remove_everything, run_facts
from compare.results.record import (
    COMPARISON,
    SHARDS,
    ForeignFolder,
    Record,
    open_folder,
    read_record,
)
from compare.run import Collected, report


class NotJoinable(WrongUsage, ValueError):
    """The folders have no shards, or not those of one comparison."""


@dataclass(frozen=True)
class FoundShard:
    """A folder with the answers of a shard."""

    folder: Path
    record: Record
    shard: Shard


def join_shards(config: JoinConfig) -> Drawn:
    """One comparison of all shards, as if it had asked for all images itself.

    Raises NotJoinable or ShardUnfinished.
    """
    started = time.time()
    shards = _find(config.folders)
    record = _joined_record(shards, config)
    settings = _settings(record, config)
    images = _images(record, shards)
    answers = _gather(shards, images, allow_missing=record.allow_missing)
    is_logged = prepare_store(settings)
    folder = config.out or _place(shards)
    if config.fresh:
        remove_everything(folder)
    record = open_folder(folder, record, fresh=config.fresh)
    _keep(folder, shards, record.names, answers)
    collected = Collected(
        folder, images, record, _compared(folder, record, answers), _facts(shards)
    )
    return report(collected, settings, started=started, seen={}, is_logged=is_logged)


def _compared(
    folder: Path, record: Record, answers: Mapping[str, PairOfAnswers]
) -> Comparison | NotComparable:
    try:
        check_record(record)
        return set_side_by_side(folder, record, answers)
    except NotComparable as error:
        return error


def _find(folders: Iterable[Path]) -> list[FoundShard]:
    """The shards in these folders by number; a folder may be a shard itself.

    Raises NotJoinable if one has none, or ShardUnfinished if a shard is missing.
    """
    found = []
    for folder in folders:
        inside = [file.parent for file in folder.glob(f"{SHARDS}/{COMPARISON}")]
        for place in inside or [folder]:
            try:
                record = read_record(place)
            except ForeignFolder:
                record = None
            if record is None or record.shard is None:
                raise NotJoinable(
                    f"{place} has no shards; name the folder that python -m compare "
                    "--a … --b … --shard 0/16 wrote, or the folders of all shards"
                )
            found.append(FoundShard(place, record, record.shard))
    counts = {each.shard.count for each in found}
    if len(counts) > 1:
        kinds = " and ".join(f"{count}" for count in sorted(counts))
        raise NotJoinable(
            f"some of the shards are of {kinds}: name the folders of those that belong "
            "together"
        )
    _check_all_there(found, *counts)
    return sorted(found, key=lambda each: (each.shard.index, each.folder))


def _check_all_there(found: Sequence[FoundShard], count: int) -> None:
    lack = sorted(set(range(count)) - {each.shard.index for each in found})
    if lack:
        first = Shard(lack[0], count)
        named = ", ".join(f"{index}/{count}" for index in lack[:10])
        more = ", …" if len(lack) > 10 else ""
        are = "is" if len(lack) == 1 else "are"
        raise ShardUnfinished(
            f"{len(lack)} of {count} shards {are} not there: {named}{more}; ask for "
            f"them with the command of the others and --shard {first}"
        )


def _joined_record(shards: Sequence[FoundShard], config: JoinConfig) -> Record:
    """The record of the whole. Raises NotJoinable if the shards are of several."""
    first, *others = shards
    a, b = first.record.a, first.record.b
    for other in others:
        _check_same(first, other)
        # A version that its service had not loaded was not known to be served as …
        a = replace(a, served_as=a.served_as or other.record.a.served_as)
        b = replace(b, served_as=b.served_as or other.record.b.served_as)
    allowed = max(each.record.allow_missing for each in shards)
    return replace(
        first.record,
        a=a,
        b=b,
        shard=None,
        gates=config.gates,
        allow_missing=max(config.allow_missing, allowed),
    )


def _check_same(first: FoundShard, other: FoundShard) -> None:
    expected, found = first.record, other.record
    for name, value in expected.identity.items():
        is_open = name.startswith("backend") and None in (value, found.identity[name])
        if name != "shard" and value != found.identity[name] and not is_open:
            raise NotJoinable(
                f"{other.folder} is a shard of another comparison: its {name} is "
                f"{found.identity[name]!r}, and that of {first.folder} is {value!r}"
            )
    if found.names != expected.names:
        raise NotJoinable(
            f"{other.folder} is a shard of {len(found.names):,} images, and "
            f"{first.folder} of {len(expected.names):,} or of others; give all shards "
            "the same --data and --limit"
        )
    kept = ("class_ids", "class_map", "left_out")
    labels = [(r.a.labels, r.b.labels) for r in (expected, found)]
    if labels[0] != labels[1] or any(
        getattr(expected, name) != getattr(found, name) for name in kept
    ):
        raise NotJoinable(
            f"{other.folder} has other classes than {first.folder}; give all shards "
            "the same --labels and --class-map"
        )


def _settings(record: Record, config: JoinConfig) -> CompareConfig:
    try:
        return CompareConfig(
            a=record.a.number,
            b=record.b.number,
            gates=config.gates,
            promote=config.promote,
            show=config.show,
            summary_md=config.summary_md,
            exports=config.exports,
            no_mlflow=config.no_mlflow,
        )
    except ValueError as error:  # what can be promoted depends on the candidate
        raise NotJoinable(str(error)) from error


def _images(record: Record, shards: Sequence[FoundShard]) -> Images:
    """All images, with their files if every shard knows its own."""
    files: dict[str, str] = {}
    for each in shards:
        if (each.folder / FILES).is_file():
            files |= json.loads((each.folder / FILES).read_text("utf-8"))
    is_known = all(name in files for name in record.names)
    return Images(
        data_name=record.data_name,
        source=str(read_run(shards[0].folder).get("data", "")),
        digest=record.data_digest,
        available=record.available,
        names=record.names,
        files=tuple(Path(files[name]) for name in record.names) if is_known else (),
        class_ids=record.class_ids,
    )


def _gather(
    shards: Sequence[FoundShard], images: Images, *, allow_missing: int
) -> dict[str, PairOfAnswers]:
    """The answers of all shards. Raises ShardUnfinished if a shard is not whole."""
    ordered = images.in_sampling_order()
    answers: dict[str, PairOfAnswers] = {}
    for each in shards:
        answers = {**read_answers(each.folder), **answers}
    lacking = 0
    for each in shards:
        own = ordered.of_shard(each.shard).names
        done = sum(name in answers for name in own)
        lacking += len(own) - done
        if lacking > allow_missing or "probe" not in read_run(each.folder):
            raise ShardUnfinished(
                f"shard {each.shard} in {each.folder} is not finished: {done:,} of "
                f"{len(own):,} images are answered; its command goes on from there"
            )
    return {name: answers[name] for name in ordered.names if name in answers}


def _keep(
    folder: Path,
    shards: Sequence[FoundShard],
    names: Sequence[str],
    answers: Mapping[str, PairOfAnswers],
) -> None:
    """What a comparison keeps, as the shards have it now."""
    remove_files(folder, (ANSWERS, *KEPT_ANSWERS.values()))
    with AnswerStore(folder) as store:
        store.add(answers)
    for name in KEPT_ANSWERS.values():
        if (shards[0].folder / name).is_file():
            shutil.copyfile(shards[0].folder / name, folder / name)
    join_looks(folder, [each.folder for each in shards], names)


def _facts(shards: Sequence[FoundShard]) -> dict[str, object]:
    """run.json of the whole. Each shard counts once, wherever it was asked again."""
    by_number = {each.shard.index: each.folder for each in reversed(shards)}
    runs = [run_facts(read_run(folder)) for folder in by_number.values()]
    probes = [run.probe for run in runs if run.probe is not None]
    probe = None
    if len(probes) == len(runs):
        probe = {
            "images": sum(each.images or 0 for each in probes),
            "differing": sum(each.differing or 0 for each in probes),
        }
    missing = {k: why for run in runs for k, why in run.missing.items()}
    return {
        "url": ", ".join(dict.fromkeys(run.url for run in runs if run.url)),
        "retries": sum(run.retries or 0 for run in runs),
        "probe": probe,
        "latency": None,
        "latency_note": f"not measured: the answers are from {len(runs)} shards",
        "missing": missing,
    }


def _place(shards: Sequence[FoundShard]) -> Path:
    """The folder that has the shards. Raises NotJoinable if there are several."""
    place, *others = {each.folder.parent for each in shards}
    if others:
        raise NotJoinable(
            f"the shards are in {len(others) + 1} folders; name that of the comparison "
            "with --out"
        )
    return place

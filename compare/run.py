"""The story of a comparison: collect both versions' answers, judge, report, log."""

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from classifier.bundle.labels import ClassMap, read_class_map
from classifier.datasets.dataset import BadDataset
from classifier.store.location import is_there_a_store
from classifier.store.versions import split_name
from compare.collect.answer_store import AnswerStore, PairOfAnswers
from compare.collect.client import ServedOtherwise
from compare.collect.collector import Side, Sources, collect_answers
from compare.collect.image_statistics import Look, look_at
from compare.collect.images import Images, WantedImages, find_images, open_images
from compare.collect.local_service import OwnService
from compare.collect.offline import (
    PredictionsFile,
    keep_long_answers,
    notes_on,
    open_files,
)
from compare.collect.probes import Timed, count_differing, measure_latency
from compare.collect.schema import ServedVersion, is_file_name, shown_names
from compare.collect.service import ServiceFound, find_service, open_sides
from compare.config.settings import CompareConfig
from compare.file_classes import (
    check_class_map,
    images_of,
    with_all_classes,
    with_truths,
)
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
from compare.results.comparison import Comparison, NotComparable, join_classes
from compare.results.folder import read_run, remove_everything, run_facts
from compare.results.record import Record, open_folder

SHORT_PATIENCE_SECONDS = 3.0
"""Patience while the latency is measured: a request that is retried does not count."""


@dataclass(frozen=True)
class Collected:
    """Both versions' answers in a folder, before anything is drawn."""

    folder: Path
    images: Images
    record: Record
    found: Comparison | NotComparable
    measured: Mapping[str, object]
    sources: Sources


def compare_versions(config: CompareConfig, early: OwnService | None = None) -> Drawn:
    """Compare, and write, print and log the result.

    `early` is a service of our own that is being started for this comparison. While it
    starts, MLflow is imported and the first images are looked at.
    """
    started = time.time()
    files = open_files(config.a, config.b, max_megapixels=config.max_megapixels)
    class_map = () if config.class_map is None else read_class_map(config.class_map)
    images, is_logged, seen = _prepare_early(config, early)

    def find(model: str | None, versions: Sequence[str]) -> ServiceFound:
        return find_service(
            early,
            model or config.model,
            versions,
            url=config.url,
            key=config.key,
            patience_seconds=config.patience,
            max_megapixels=config.max_megapixels,
        )

    with open_sides(files, config.a, config.b, find=find) as sides:
        check_class_map(class_map, *sides)
        answered = [f for f in files.values() if isinstance(f, PredictionsFile)]
        images = images or _find_images(config, answered, sides, class_map)
        images = with_truths(images, answered, class_map)
        a, b = with_all_classes(*sides, images, class_map)
        if is_logged is None:
            is_logged = _prepare_store(config)
        collected = collect(images, a, b, config, class_map=class_map)
    return report(collected, config, started=started, seen=seen, is_logged=is_logged)


def collect(
    images: Images, a: Side, b: Side, config: CompareConfig, *, class_map: ClassMap = ()
) -> Collected:
    """Make or continue the folder, and add the answers that it lacks."""
    sources = Sources({side.version.key: side.source for side in (a, b)})
    folder = config.out or _default_folder(a.version, b.version)
    images, record = _open(folder, images, a, b, class_map, config)
    found, measured = _compare(sources, images, folder, record, config)
    return Collected(folder, images, record, found, measured, sources)


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
        "url": collected.sources.url,
        "retries": collected.sources.retries,
        "data": images.source,
        "differences": _differences(collected, is_logged=is_logged),
        **collected.measured,
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


def _prepare_early(
    config: CompareConfig, early: OwnService | None
) -> tuple[Images | None, bool | None, Mapping[str, Look]]:
    """Images, store and first pictures, while our own service starts.

    Nothing without such a service: the versions of another one decide what is read.
    """
    if early is None:
        return None, None, {}
    is_logged = _prepare_store(config)
    images = open_images(
        _wanted(config),
        versions=[
            (model or config.model, version)
            for name in (config.a, config.b)
            if not is_file_name(name)
            for model, version in [split_name(name)]
        ],
    )
    sample = images.sample(config.limit)
    seen = look_at(
        sample.names,
        sample.files,
        max_megapixels=config.max_megapixels,
        until=early.has_started,
    )
    return images, is_logged, seen


def _find_images(
    config: CompareConfig,
    files: Sequence[PredictionsFile],
    sides: tuple[Side, Side],
    class_map: ClassMap,
) -> Images:
    """All images of --data, else of the first version, else of both files.

    Raises BadDataset if only an ONNX file could say which images are meant.
    """
    served = [side.version for side in sides if side.version.file_sha256 is None]
    if config.data is None and not served:
        if len(files) < len({side.version.key for side in sides}):
            raise BadDataset(
                "an ONNX file does not say which images to compare on; name them with "
                "--data"
            )
        return images_of(files, class_map)
    return find_images(_wanted(config), versions=[(v.model, v.number) for v in served])


def _wanted(config: CompareConfig) -> WantedImages:
    return WantedImages(
        source=config.data,
        labels=config.labels,
        takes_all=config.part == "all",
        cache=config.cache,
    )


def _default_folder(a: ServedVersion, b: ServedVersion) -> Path:
    """`compare-v8-v16`."""
    names = shown_names(a.key, b.key)
    return Path("-".join(["compare", *(name.replace("/", "-") for name in names)]))


def _prepare_store(config: CompareConfig) -> bool:
    """Import MLflow if it is needed; whether the comparison is logged.

    Raises StoreUnavailable if --promote has no store, before any request.
    """
    is_logged = not config.no_mlflow and is_there_a_store()
    if is_logged or config.promote is not None:
        import compare.mlflow_log  # noqa: F401 - takes a second; _log_and_promote() uses it
    if config.promote is not None:
        from classifier.store.registry import Registry

        Registry()
    return is_logged


def _log_and_promote(drawn: Drawn, *, is_logged: bool, alias: str | None) -> None:
    if is_logged:
        from compare.mlflow_log import try_to_log

        try_to_log(drawn)
    if alias is not None:
        from compare.mlflow_log import promote

        print_lines([promote(drawn, alias)])


def _open(
    folder: Path,
    images: Images,
    a: Side,
    b: Side,
    class_map: ClassMap,
    config: CompareConfig,
) -> tuple[Images, Record]:
    """Make or continue the folder, with the images that both versions can be right on.

    Raises ForeignFolder if the folder has anything else.
    """
    notes = (*notes_on(images, (a, b)), *images.notes)
    both = join_classes(a.version, b.version, class_map)
    images, left_out = images.of_classes(both.compares)
    images = images.sample(config.limit)
    record = Record(
        a=a.version,
        b=b.version,
        data_name=images.data_name,
        data_digest=images.digest,
        names=images.names,
        class_ids=images.class_ids,
        left_out=left_out,
        class_map=tuple(class_map),
        available=images.available,
        data_notes=notes,
        gates=config.gates,
        allow_missing=config.allow_missing,
    )
    if config.fresh:
        remove_everything(folder)
    record = open_folder(folder, record, fresh=config.fresh)
    for name, side in (("a", a), ("b", b)):
        keep_long_answers(folder, name, side.source)
    return images, record


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
        answers, is_new = _collect(sources, images, folder, record, config)
        comparison = set_side_by_side(folder, record, answers)
    except NotComparable as error:
        return error, {}
    except ServedOtherwise as error:
        return NotComparable(str(error)), {}
    if not sources.reads_images:  # kept answers alone: nobody could be asked twice
        return comparison, {"probe": None, **_no_latency(record)}
    names = "\n".join(comparison.names).encode()
    measured_of = hashlib.sha256(names).hexdigest()
    measured = {} if is_new else _measured_before(folder, measured_of)
    if not measured:
        answered = images.only(comparison.names)
        measured = _measure(sources, answered, answers, record, config)
        measured["measured_of"] = measured_of
    return comparison, measured


def _collect(
    sources: Sources,
    images: Images,
    folder: Path,
    record: Record,
    config: CompareConfig,
) -> tuple[Mapping[str, PairOfAnswers], bool]:
    """All answers, with this run's failures among them; and whether any is new."""
    with AnswerStore(folder) as store:
        before = len(store.kept)
        collect_answers(
            sources,
            images.in_sampling_order(),  # the answers of a sample stay when it grows
            store,
            a=record.a,
            b=record.b,
            batch_size=config.batch_size,
            concurrency=config.concurrency,
        )
        return {**store.failed, **store.kept}, len(store.kept) > before


def _measured_before(folder: Path, measured_of: str) -> dict[str, object]:
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
        timed = Timed(_no_latency(record), {})
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


def _no_latency(record: Record) -> dict[str, object]:
    files = [v.number for v in (record.a, record.b) if v.file_sha256 is not None]
    note = "not measured: the answers are from a service's users"
    if files:
        note = f"not measured: {files[0]} is a file, which no service answers with"
    return {"latency": None, "latency_note": note}

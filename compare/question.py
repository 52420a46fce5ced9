"""What a comparison asks: the images, and both versions with who answers for them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from classifier.bundle.labels import ClassMap, read_class_map
from classifier.datasets.dataset import BadDataset
from classifier.store.location import is_there_a_store
from classifier.store.versions import split_name
from compare.collect.collector import Side, Sources
from compare.collect.image_statistics import Look, look_at
from compare.collect.images import Images, WantedImages, find_images, open_images
from compare.collect.local_service import OwnService
from compare.collect.offline.classes import (
    check_class_map,
    images_of,
    with_all_classes,
    with_truths,
)
from compare.collect.offline.files import (
    File,
    PredictionsFile,
    keep_long_answers,
    notes_on,
    open_files,
)
from compare.collect.schema import ServedVersion, is_file_name, shown_names
from compare.collect.service import ServiceFound, find_service, open_sides
from compare.config.settings import CompareConfig
from compare.results.comparison import join_classes
from compare.results.folder import remove_everything
from compare.results.record import Record, open_folder


@dataclass(frozen=True)
class Question:
    """Images, and both versions with the sources of their answers."""

    images: Images
    a: Side
    b: Side
    class_map: ClassMap
    seen: Mapping[str, Look]
    """Images that were looked at while a service of our own started."""

    is_logged: bool

    @property
    def sources(self) -> Sources:
        return Sources({side.version.key: side.source for side in (self.a, self.b)})


@contextlib.contextmanager
def open_question(
    config: CompareConfig, early: OwnService | None
) -> Iterator[Question]:
    """Yield the images and both sides; services of our own end with it."""
    files = open_files(config.a, config.b, max_megapixels=config.max_megapixels)
    class_map = () if config.class_map is None else read_class_map(config.class_map)
    images, is_logged, seen = _prepare_early(config, early)
    with _open_sides(config, early, files) as sides:
        check_class_map(class_map, *sides)
        answered = [f for f in files.values() if isinstance(f, PredictionsFile)]
        images = images or _find_images(config, answered, sides, class_map)
        images = with_truths(images, answered, class_map)
        a, b = with_all_classes(*sides, images, class_map)
        if is_logged is None:
            is_logged = config.shard is None and prepare_store(config)
        yield Question(images, a, b, class_map, seen, is_logged)


def _open_sides(
    config: CompareConfig, early: OwnService | None, files: Mapping[str, File]
) -> contextlib.AbstractContextManager[tuple[Side, Side]]:
    if config.engine == "ray":
        from compare.collect.offline.networks import open_networks

        return open_networks(
            config.a,
            config.b,
            model=config.model,
            max_megapixels=config.max_megapixels,
        )

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

    return open_sides(files, config.a, config.b, find=find)


def _prepare_early(
    config: CompareConfig, early: OwnService | None
) -> tuple[Images | None, bool | None, Mapping[str, Look]]:
    """Images, store and first pictures, while our own service starts.

    Nothing without such a service: the versions of another one decide what is read.
    """
    if early is None:
        return None, None, {}
    is_logged = config.shard is None and prepare_store(config)
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


def prepare_store(config: CompareConfig) -> bool:
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


def default_folder(a: ServedVersion, b: ServedVersion) -> Path:
    """`compare-v8-v16`."""
    names = shown_names(a.key, b.key)
    return Path("-".join(["compare", *(name.replace("/", "-") for name in names)]))


def open_record(
    folder: Path, question: Question, config: CompareConfig
) -> tuple[Images, Record]:
    """Make or continue the folder, with the images that both versions can be right on.

    Raises ForeignFolder if the folder has anything else.
    """
    images, a, b = question.images, question.a, question.b
    notes = (*notes_on(images, (a, b)), *images.notes)
    both = join_classes(a.version, b.version, question.class_map)
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
        class_map=tuple(question.class_map),
        available=images.available,
        data_notes=notes,
        gates=config.gates,
        allow_missing=config.allow_missing,
        shard=config.shard,
    )
    if config.fresh:
        remove_everything(folder)
    record = open_folder(folder, record, fresh=config.fresh)
    for name, side in (("a", a), ("b", b)):
        keep_long_answers(folder, name, side.source)
    return images, record

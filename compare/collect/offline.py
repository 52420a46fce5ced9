"""Answers without a service: those in a file of predictions that any tool made."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from classifier.bundle.labels import Labels
from classifier.bundle.predictions_file import (
    BadPredictions,
    Predictions,
    read_predictions_file,
    write_predictions_file,
)
from classifier.datasets.dataset import dataset_digest, file_sha256
from compare.collect.collector import Side
from compare.collect.images import Images
from compare.collect.schema import (
    NOT_IN_FILE,
    Answer,
    NoAnswer,
    ServedVersion,
    TopAnswer,
    is_file_name,
)
from compare.statistics.top_five import TOP

KEPT_ANSWERS = {"a": "a_predictions.parquet", "b": "b_predictions.parquet"}
"""Copies of files with more than five answers, which answers.jsonl does not keep."""


@dataclass(frozen=True)
class PredictionsFile:
    """A file of predictions as a source of answers."""

    version: ServedVersion
    predictions: Predictions
    """By the indices of the version's labels."""

    url = ""
    retries = 0
    reads_images = False

    @property
    def knows_all_its_classes(self) -> bool:
        return self.predictions.has_every_class

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        return {name: row for row, name in enumerate(self.predictions.names)}

    def predict(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        """The answers to the images of these names, once for each version."""
        return [(self._answer(name),) * len(versions) for name, _ in images]

    def _answer(self, name: str) -> Answer:
        row = self.row_of.get(name)
        if row is None:
            why = f"it has no row for this image; a row is {self.predictions.names[0]}"
            return NoAnswer(NOT_IN_FILE, why)
        indices = self.predictions.indices[row, :TOP]
        listed = indices >= 0
        probabilities = self.predictions.probabilities[row, :TOP]
        return TopAnswer(
            tuple(indices[listed].tolist()), tuple(probabilities[listed].tolist())
        )

    def hasty(self, patience_seconds: float) -> "PredictionsFile":
        return self

    def stop(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is open."""


def open_files(a: str, b: str) -> dict[str, PredictionsFile]:
    """The files among `--a` and `--b`, by the names that were typed.

    Raises BadPredictions.
    """
    paths = {name: Path(name) for name in (a, b) if is_file_name(name)}
    shown = [path.name for path in paths.values()]
    if len(set(shown)) < len(shown):
        shown = [
            f"{path.absolute().parent.name}/{path.name}" for path in paths.values()
        ]
    if len(set(shown)) < len(shown):
        shown = list(paths)
    return {
        name: _open(path, shown[place])
        for place, (name, path) in enumerate(paths.items())
    }


def _open(path: Path, name: str) -> PredictionsFile:
    predictions = read_predictions_file(path)
    version = ServedVersion(
        model=name,
        number=name,
        labels=Labels(predictions.class_ids, predictions.class_ids),
        run_id=None,
        epoch=None,
        dataset_digest=None,
        file_sha256=file_sha256(path),
    )
    return PredictionsFile(version, predictions)


def images_of(files: Sequence[PredictionsFile], *, limit: int | None) -> Images:
    """The images that the files name, without their pixels, in the files' order."""
    names = tuple(
        dict.fromkeys(name for file in files for name in file.predictions.names)
    )
    labelled = [file for file in files if file.predictions.truths is not None]
    truths = _truths(labelled)
    if truths and (lack := [name for name in names if name not in truths]):
        raise BadPredictions(
            f"{len(lack):,} images have no truth, such as {lack[0]!r}; give both files "
            "a row for each image, or both the column truth, or name the images with "
            "--data"
        )
    class_ids = tuple(truths[name] for name in names) if truths else None
    whole = Images(
        data_name=(labelled or files)[0].version.number,
        source="",
        digest=dataset_digest(names, class_ids or [""] * len(names), [""] * len(names)),
        available=len(names),
        names=names,
        files=(),
        class_ids=class_ids,
    )
    return whole.sample(limit)


def with_truths(images: Images, files: Sequence[PredictionsFile]) -> Images:
    """The images with the files' truth, where the data has none.

    Raises BadPredictions where a file's truth is not that of the data.
    """
    truths = _truths(files)
    if images.class_ids is None:
        if not truths or not all(name in truths for name in images.names):
            return images
        return replace(images, class_ids=tuple(truths[name] for name in images.names))
    for name, class_id in zip(images.names, images.class_ids, strict=True):
        if truths.get(name, class_id) != class_id:
            raise BadPredictions(
                f"the truth of {name!r} is {truths[name]!r} in the file and "
                f"{class_id!r} in {images.data_name}; correct the file, or take its "
                "column truth away"
            )
    return images


def _truths(files: Sequence[PredictionsFile]) -> dict[str, str]:
    """Class id by image name. Raises BadPredictions if the files disagree."""
    truths: dict[str, str] = {}
    for file in files:
        predictions = file.predictions
        for name, truth in zip(
            predictions.names, predictions.truths or (), strict=False
        ):
            if truths.setdefault(name, truth) != truth:
                raise BadPredictions(
                    f"the truth of {name!r} is {truths[name]!r} in one file and "
                    f"{truth!r} in {file.version.number}; correct one of them"
                )
    return truths


def with_all_classes(a: Side, b: Side, images: Images) -> tuple[Side, Side]:
    """Both sides with labels of all the classes that they may know, and with names.

    A file of the likeliest classes does not list the others that its model knows. It
    gets the classes of the other side and of the data too.
    """
    return _completed(a, b, images), _completed(b, a, images)


def _completed(side: Side, other: Side, images: Images) -> Side:
    file = side.source
    if not isinstance(file, PredictionsFile):
        return side
    names = _class_names(images, other)
    ids = file.predictions.class_ids
    if not file.knows_all_its_classes:
        theirs = other.version.labels.ids
        is_open = isinstance(other.source, PredictionsFile) and (
            not other.source.knows_all_its_classes
        )
        known = () if is_open else theirs
        found = {*ids, *theirs, *(images.class_ids or ())}
        ids = (*known, *sorted(found.difference(known)))
    labels = Labels(ids, tuple(names.get(class_id, class_id) for class_id in ids))
    version = replace(side.version, labels=labels)
    return Side(version, PredictionsFile(version, file.predictions.with_classes(ids)))


def _class_names(images: Images, other: Side) -> Mapping[str, str]:
    labels = other.version.labels
    of_other = dict(zip(labels.ids, labels.names, strict=True))
    of_file = isinstance(other.source, PredictionsFile)
    return dict(images.class_names) if of_file else {**images.class_names, **of_other}


def notes_on(images: Images, sides: Iterable[Side]) -> tuple[str, ...]:
    """Notes of every report about files; without full stops."""
    notes = []
    for version, file in ((side.version, side.source) for side in sides):
        if not isinstance(file, PredictionsFile):
            continue
        rest = len(set(file.predictions.names) - set(images.names))
        if rest and len(images) == images.available:
            rows = "1 row of an image" if rest == 1 else f"{rest:,} rows of images"
            notes.append(f"{version.number} has {rows} that the data has not")
        count = file.predictions.indices.shape[1]
        if count < min(TOP, len(version.labels)):
            notes.append(
                f"{version.number} lists no more than {count} of its answers, so "
                f"its 'truth among five' is truth among {count}"
            )
    return tuple(dict.fromkeys(notes))


def keep_long_answers(folder: Path, side: str, source: object) -> None:
    """Copy a file with more than five answers to the folder, for later drawings."""
    if isinstance(source, PredictionsFile) and (
        source.predictions.indices.shape[1] > TOP
    ):
        kept = folder / KEPT_ANSWERS[side]
        if not kept.is_file():
            write_predictions_file(kept, source.predictions)


def read_long_answers(
    folder: Path, side: str, version: ServedVersion
) -> Predictions | None:
    """The copy, by the indices of the version's labels; None if there is none."""
    kept = folder / KEPT_ANSWERS[side]
    if not kept.is_file():
        return None
    return read_predictions_file(kept).with_classes(version.labels.ids)

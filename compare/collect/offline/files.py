"""Answers without a service: in a file of predictions, or by the network of a file."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from classifier.bundle.labels import Labels
from classifier.bundle.predictions_file import (
    Predictions,
    read_predictions_file,
    write_predictions_file,
)
from classifier.console.exits import NotNow
from classifier.datasets.dataset import file_sha256
from classifier.images.decoding import ImageTooLarge, RgbImage, UndecodableImage
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

if TYPE_CHECKING:  # it brings ONNX Runtime
    from classifier.inference.backends.onnx_file import OnnxFile

KEPT_ANSWERS = {"a": "a_predictions.parquet", "b": "b_predictions.parquet"}
"""Copies of files with more than five answers, which answers.jsonl does not keep."""


class NoRuntime(NotNow, RuntimeError):
    """ONNX Runtime is not installed; it is an extra of its own."""


@dataclass(frozen=True)
class PredictionsFile:
    """A file of predictions as a source of answers."""

    version: ServedVersion
    predictions: Predictions
    """Classes as indices of the version's labels."""

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


@dataclass(frozen=True)
class NetworkFile:
    """An ONNX file with its sidecar as a source of answers."""

    version: ServedVersion
    network: "OnnxFile"
    max_megapixels: float

    url = ""
    retries = 0
    reads_images = True

    def predict(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        """The answers to the images, once for each version; all are one batch."""
        from classifier.inference.predict import top_classes

        answers: dict[int, Answer] = {}
        pixels: dict[int, RgbImage] = {}
        for place, (_, data) in enumerate(images):
            try:
                pixels[place] = self.network.preprocessing.image(
                    data, max_megapixels=self.max_megapixels
                )
            except UndecodableImage as error:
                answers[place] = NoAnswer("undecodable_image", str(error))
            except ImageTooLarge as error:
                answers[place] = NoAnswer("image_too_large", str(error))
        if pixels:
            logits = self.network.logits(np.stack(list(pixels.values())))
            rows = top_classes(self.version.labels, logits, TOP)
            for place, row in zip(pixels, rows, strict=True):
                answers[place] = TopAnswer(
                    tuple(each.index for each in row),
                    tuple(each.probability for each in row),
                )
        return [(answers[place],) * len(versions) for place in range(len(images))]

    def hasty(self, patience_seconds: float) -> "NetworkFile":
        return self

    def stop(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is open."""


File = PredictionsFile | NetworkFile


def open_files(a: str, b: str, *, max_megapixels: float) -> dict[str, File]:
    """The files among `--a` and `--b`, by the names that were typed.

    Raises BadPredictions, BadSidecar or UnfitOnnxFile.
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
        name: _open(path, shown[place], max_megapixels)
        for place, (name, path) in enumerate(paths.items())
    }


def _open(path: Path, name: str, max_megapixels: float) -> File:
    if path.suffix.lower() != ".onnx":
        predictions = read_predictions_file(path)
        version = _version(name, labels_of(predictions.class_ids), file_sha256(path))
        return PredictionsFile(version, predictions)
    try:  # here, as a comparison of versions needs no ONNX Runtime
        from classifier.inference.backends.onnx_file import OnnxFile
    except ModuleNotFoundError as error:
        raise NoRuntime(
            f"{path} needs ONNX Runtime, which is not installed; install flipside[cpu] "
            "or flipside[gpu]"
        ) from error

    network = OnnxFile(path)
    digest = _digest_of_network(path)
    return NetworkFile(_version(name, network.labels, digest), network, max_megapixels)


def _digest_of_network(path: Path) -> str:
    """Changes with the graph, its external data, and each file that describes it.

    External data is a file beside the graph whose name is in the graph.
    """
    graph = path.read_bytes()
    described = (path.with_suffix(".json").name, "labels.json", "preprocessing.json")
    parts = [
        file
        for file in sorted(path.parent.iterdir())
        if file.is_file() and (file.name in described or file.name.encode() in graph)
    ]
    texts = [f"{part.name}\t{file_sha256(part)}\n" for part in (path, *parts)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _version(name: str, labels: Labels, digest: str) -> ServedVersion:
    return ServedVersion(
        model=name,
        number=name,
        labels=labels,
        run_id=None,
        epoch=None,
        dataset_digest=None,
        file_sha256=digest,
    )


def labels_of(ids: Iterable[str], names: Mapping[str, str] | None = None) -> Labels:
    """Labels in this order; a class without a name has its id as name."""
    ordered = tuple(ids)
    return Labels(ordered, tuple((names or {}).get(id_, id_) for id_ in ordered))


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

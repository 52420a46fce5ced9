"""A model made elsewhere in a version's form: of a graph, of weights, or of MLflow."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.models import Model
from numpy.typing import NDArray

from classifier.bundle.labels import Labels
from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.bundle.sidecar import Output, Sidecar, read_labels, read_sidecar
from classifier.images.resizing import Resizing
from classifier.metrics import RELATIVE_TOLERANCE
from classifier.store.registry import Registry
from training.config.commands import ImportConfig
from training.config.network_flags import channels
from training.publishing.export import VersionParts, export_graph, state_of
from training.publishing.foreign_graph import ForeignGraph, UnfitModel, read_graph
from training.publishing.wrapped_graph import (
    logits_of,
    look_like_probabilities,
    wrapped,
)

if TYPE_CHECKING:  # torch takes 4 s to import, and a graph needs none of it
    from torch import nn

    from classifier.networks.image_classifier import ImageClassifier

_TORCH_FILES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A model made elsewhere in the form of a version, and its own answers."""

    name: str
    """The file's, or the model's in MLflow."""

    kind: str
    """In words, for the report."""

    weights: Mapping[str, NDArray[Any]]
    parts: VersionParts
    tolerance: float
    logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    """Its own answers to images [N, H, W, 3], before it became a version."""

    notes: tuple[str, ...] = ()


def read_foreign(config: ImportConfig, registry: Registry, folder: Path) -> Foreign:
    if config.source.startswith("models:/"):
        return _read_mlflow(config, registry, folder)
    file = Path(config.source)
    if not file.is_file():
        raise UnfitModel(
            f"there is no file {file}; --import takes an .onnx, .safetensors or .pth "
            f"file, or models:/NAME/3"
        )
    if file.suffix in _TORCH_FILES:
        return _read_torch(config, file)
    if config.arch is not None:
        raise UnfitModel(
            f"--arch is for weights in a {' or '.join(_TORCH_FILES[:2])} file, and "
            f"{file.name} is none; a graph has its network in it"
        )
    return _of_graph(config, file, name=file.stem)


def _read_mlflow(config: ImportConfig, registry: Registry, folder: Path) -> Foreign:
    uri = re.sub(r"/[vV](\d+)$", r"/\1", config.source)
    stored = registry.download(uri, to=folder)
    name = re.split(r"[/@]", uri.removeprefix("models:/"))[0]
    flavours = Model.load(str(stored)).flavors
    if "onnx" in flavours:
        return _of_graph(config, stored / flavours["onnx"]["data"], name=name)
    if "pytorch" not in flavours:
        raise UnfitModel(
            f"{config.source} has the flavours {', '.join(flavours)}; onnx or pytorch "
            f"is needed, which mlflow.onnx and mlflow.pytorch log"
        )
    from training.publishing.foreign_network import network_in_mlflow

    if flavours["pytorch"].get("code") and not config.trust_pickle:
        raise UnfitModel(
            f"{config.source} brings code of its own, which may do anything this user "
            f"may; give --trust-pickle if you trust who made it"
        )
    network = network_in_mlflow(
        stored, name=config.source, trust_pickle=config.trust_pickle
    )
    return _of_module(config, network, stored, name=name)


def _read_torch(config: ImportConfig, file: Path) -> Foreign:
    """Weights of --arch, or a whole network in a pickle."""
    from classifier.networks.image_classifier import ImageClassifier
    from training.publishing.foreign_network import (
        network_of_weights,
        pickled_network,
        size_of,
    )

    if config.arch is None:
        network = pickled_network(file, trust_pickle=config.trust_pickle)
        return _of_module(config, network, file, name=file.stem)
    beside = read_sidecar(file)
    labels = read_labels(config.labels_file) if config.labels_file else beside.labels
    given = beside.preprocessing
    size = size_of(config.arch, config.size or (given.height if given else None))
    network, spec = network_of_weights(
        file,
        config.arch,
        stem=config.stem,
        size=size,
        classes=None if labels is None else len(labels),
    )
    preprocessing, notes = _preprocessing(config, beside, (size, size))
    return _of_classifier(
        ImageClassifier(network, preprocessing).eval(),
        VersionParts(labels or _numbered(spec.classes), preprocessing, spec, b""),
        name=file.stem,
        kind=f"{config.arch} with the weights of {file.name}",
        notes=notes,
    )


def _of_module(
    config: ImportConfig, network: "nn.Module", file: Path, *, name: str
) -> Foreign:
    """A network whose code only the file had; afterwards its graph alone is left."""
    from training.publishing.foreign_network import SIZE, classifier_of

    beside = read_sidecar(file)
    given = beside.preprocessing
    size = config.size or (given.height if given else SIZE)
    preprocessing, notes = _preprocessing(config, beside, (size, size))
    classifier, classes = classifier_of(network, preprocessing, name=name)
    spec = NetworkSpec(plain_name(name), "imagenet", classes, source="onnx")
    labels = _labels(config, classes, beside)
    return _of_classifier(
        classifier,
        VersionParts(labels, preprocessing, spec, b""),
        name=name,
        kind=f"{type(network).__name__} of torch",
        notes=notes,
    )


def _of_classifier(
    classifier: "ImageClassifier",
    parts: VersionParts,
    *,
    name: str,
    kind: str,
    notes: tuple[str, ...],
) -> Foreign:
    from training.evaluation import evaluate

    try:
        graph = export_graph(classifier, parts.preprocessing)
    except Exception as error:  # torch's exporter raises what it likes
        raise UnfitModel(
            f"{name} cannot be exported to ONNX: {str(error).strip().splitlines()[0]}"
        ) from error
    size = f"{parts.preprocessing.height} x {parts.preprocessing.width}"
    return Foreign(
        name=name,
        kind=f"{kind}: {size} pixels, {parts.network.classes:,} classes",
        weights=state_of(classifier),
        parts=replace(parts, graph=graph),
        tolerance=RELATIVE_TOLERANCE,
        logits=lambda images: np.concatenate(
            list(evaluate.logits_by_batch(classifier, images))
        ),
        notes=notes,
    )


def _of_graph(config: ImportConfig, file: Path, *, name: str) -> Foreign:
    beside = read_sidecar(file)
    graph = read_graph(file, layout=config.layout or beside.layout)
    preprocessing, notes = _preprocessing(
        config, beside, _sides(config, graph, beside), graph=graph
    )
    answers = graph.answers(random_images(preprocessing, 2), preprocessing)
    classes = answers.shape[1]
    output = _output(config.output or beside.output, answers, graph)
    labels = _labels(config, classes, beside, graph.described)
    made, weights = wrapped(graph, preprocessing, output=output, classes=classes)
    spec = NetworkSpec(plain_name(name), "imagenet", classes, source="onnx")
    kind = "uint8" if graph.normalises_itself else np.dtype(graph.dtype).name
    size = f"{preprocessing.height} x {preprocessing.width}"
    return Foreign(
        name=name,
        kind=(
            f"takes {kind} {graph.layout} of {size} pixels, gives {output} of "
            f"{classes:,} classes"
        ),
        weights=weights,
        parts=VersionParts(labels, preprocessing, spec, made),
        tolerance=graph.tolerance,
        logits=lambda images: logits_of(graph.answers(images, preprocessing), output),
        notes=notes,
    )


def _output(
    given: Output | None, answers: NDArray[np.float32], graph: ForeignGraph
) -> Output:
    looks = look_like_probabilities(answers, tolerance=graph.tolerance)
    if given == "probabilities" and not looks:
        raise UnfitModel(
            f"{graph.name} does not give probabilities: a row of its answers adds up "
            f"to {float(answers[0].sum()):.4g}; leave out --output, or give logits"
        )
    return given or ("probabilities" if looks else "logits")


def _sides(
    config: ImportConfig, graph: ForeignGraph, beside: Sidecar
) -> tuple[int, int]:
    """Height and width, on which graph, flag and sidecar must agree."""
    found = beside.preprocessing
    given = (found.height, found.width) if found else (None, None)
    if config.size is not None:
        given = (config.size, config.size)
    return _side(graph, graph.height, given[0]), _side(graph, graph.width, given[1])


def _side(graph: ForeignGraph, fixed: int | None, given: int | None) -> int:
    if fixed is not None and given is not None and given != fixed:
        raise UnfitModel(
            f"{graph.name} takes images of {graph.height} x {graph.width} pixels, not "
            f"of {given}; leave out --size, or correct its sidecar"
        )
    side = fixed or given
    if side is None:
        raise UnfitModel(
            f"{graph.name} takes images of any size; give the one it was trained with, "
            f"such as --size 224"
        )
    return side


def _preprocessing(
    config: ImportConfig,
    beside: Sidecar,
    sides: tuple[int, int],
    *,
    graph: ForeignGraph | None = None,
) -> tuple[Preprocessing, tuple[str, ...]]:
    """The preprocessing of flags, sidecar and graph, in this order, and a note.

    The note says which values are ImageNet's because nothing gave them.
    """
    height, width = sides
    base = beside.preprocessing or Preprocessing(height, width)
    is_given = config.mean is not None or beside.preprocessing is not None
    mean = base.mean if config.mean is None else channels(config.mean)
    std = base.std if config.std is None else channels(config.std)
    notes: tuple[str, ...] = ()
    if graph is not None and graph.normalises_itself:
        if config.mean is not None or config.std is not None:
            raise UnfitModel(
                f"{graph.name} takes uint8 pixels and normalises them itself; leave "
                f"out --mean and --std"
            )
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    elif not is_given:
        notes = (
            f"neither a flag nor a file gives mean and std; those of ImageNet are "
            f"taken, {mean} and {std}; give others with --mean and --std",
        )
    resize_to = config.resize_to or base.resize_to
    if resize_to is None and config.crop == "center":
        resize_to = max(sides)
    is_cropped = resize_to is not None and config.crop != "none"
    try:
        made = Preprocessing(
            height,
            width,
            mean=mean,
            std=std,
            resize=base.resize,
            resize_to=resize_to if is_cropped else None,
            crop="center" if is_cropped else None,
        )
    except ValueError as error:
        raise UnfitModel(str(error)) from error
    return made, notes


def _labels(config: ImportConfig, classes: int, *given: Sidecar) -> Labels:
    """Labels of the flag, else of the first source that has some, else numbers."""
    if config.labels_file is not None:
        labels: Labels | None = read_labels(config.labels_file)
    else:
        labels = next((one.labels for one in given if one.labels is not None), None)
    if labels is not None and len(labels) != classes:
        raise UnfitModel(
            f"the model gives {classes:,} classes, and the labels have {len(labels):,} "
            f"names; give one for each of its classes with --labels"
        )
    return labels or _numbered(classes)


def _numbered(classes: int) -> Labels:
    names = tuple(f"class_{index}" for index in range(classes))
    return Labels(names, names)


def plain_name(name: str) -> str:
    """A name for models: letters, digits, '.', '_', '-'."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-._") or "imported"


def random_images(preprocessing: Preprocessing, count: int) -> NDArray[np.uint8]:
    """Patches of random colours, from a few large ones to many small ones."""
    rng = np.random.default_rng(0)
    stretch = Resizing(preprocessing.height, preprocessing.width)
    patches = [
        rng.integers(0, 256, (2 << n % 6, 2 << n % 6, 3), np.uint8)
        for n in range(count)
    ]
    return np.stack([stretch(image) for image in patches])

"""The files of a version: their names, how they are written and checked."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from classifier.bundle.labels import MOST_CLASSES, Labels
from classifier.bundle.preprocessing import Preprocessing
from classifier.bundle.safetensors_header import (
    SafetensorsHeader,
    TensorPlace,
    read_header,
)
from classifier.bundle.strict_json import fields_of, integer, one_of, parse_json
from classifier.console.exits import NotNow, WrongUsage

T = TypeVar("T")

Precision = Literal["fp32", "int8"]

WEIGHTS = "weights.safetensors"
GRAPH = "model.onnx"
LABELS = "labels.json"
PREPROCESSING = "preprocessing.json"
NETWORK = "network.json"
VALIDATION_PREDICTIONS = "validation_predictions.parquet"

ARCHITECTURE_NAMES = ("resnet18", "tiny")
"""The networks of classifier.networks, whose import takes a second."""

STEM_NAMES = ("imagenet", "small")

LONGEST_JSON = 16 * 2**20
"""Bytes; the labels of 21,841 classes take 2 MB."""

LONGEST_GRAPH = 2**31 - 1
"""Bytes; the limit of a protobuf message."""


class BrokenBundle(NotNow, ValueError):
    """A version's files are missing, cut off or do not fit each other."""


class NoBundle(BrokenBundle):
    """A version has no bundle: another tool made it, or it was deleted."""


class QuantisedBundle(WrongUsage, ValueError):
    """An int8 form was given where fp32 weights are needed."""


@dataclass(frozen=True)
class NetworkSpec:
    """The content of network.json, from which the network is built again."""

    architecture: str
    stem: str
    classes: int
    precision: Precision = "fp32"
    """`int8` has no file of weights; they are in the graph."""

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision must be {' or '.join(get_args(Precision))}, "
                f"got {self.precision!r:.80}"
            )

    @classmethod
    def from_json(cls, found: Any) -> "NetworkSpec":
        """Raises ValueError if a field is missing, wrong or unknown."""
        fields = fields_of(
            found, ("architecture", "stem", "classes"), optional=("precision",)
        )
        one_of(fields["architecture"], "architecture", ARCHITECTURE_NAMES)
        one_of(fields["stem"], "stem", STEM_NAMES)
        integer(fields["classes"], "classes", least=1, most=MOST_CLASSES)
        known = {name: value for name, value in fields.items() if value is not None}
        return cls(**known)


@dataclass(frozen=True)
class Bundle:
    """A version's files, read and checked; the weights stay on disk."""

    folder: Path
    labels: Labels
    preprocessing: Preprocessing
    network: NetworkSpec

    @property
    def weights(self) -> Path:
        """Raises QuantisedBundle for an int8 form, whose weights are in the graph."""
        if self.network.precision != "fp32":
            raise QuantisedBundle(
                f"the version is {self.network.precision} and has no weights for torch "
                f"to run; use --backend onnx, or ask for it without "
                f"'.{self.network.precision}'"
            )
        return self.folder / WEIGHTS

    @property
    def graph(self) -> Path:
        return self.folder / GRAPH

    @property
    def validation_predictions(self) -> Path:
        return self.folder / VALIDATION_PREDICTIONS


def write_bundle(
    folder: Path,
    *,
    weights: Mapping[str, NDArray[np.generic]] | None,
    graph: bytes,
    labels: Labels,
    preprocessing: Preprocessing,
    network: NetworkSpec,
) -> Bundle:
    """Write all files. `weights` is the network's state dict, None for int8."""
    assert (weights is None) == (network.precision == "int8")
    if weights is not None:
        # save_file() lets only its owner read it; a service may be another user.
        (folder / WEIGHTS).write_bytes(save(dict(weights)))
    (folder / GRAPH).write_bytes(graph)
    _write_json(folder / LABELS, labels.to_json())
    _write_json(folder / PREPROCESSING, preprocessing.to_json())
    _write_json(folder / NETWORK, asdict(network))
    return Bundle(folder, labels, preprocessing, network)


def read_bundle(folder: Path) -> Bundle:
    """Read and check all files except the graph.

    Raises BrokenBundle with the wrong file and its fault.
    """
    _check_there(folder, GRAPH, LABELS, PREPROCESSING, NETWORK)
    labels = _parse(folder / LABELS, Labels.from_json)
    preprocessing = _parse(folder / PREPROCESSING, Preprocessing.from_json)
    network = _parse(folder / NETWORK, NetworkSpec.from_json)
    if network.classes != len(labels):
        raise BrokenBundle(
            f"{NETWORK} has {network.classes} classes and {LABELS} {len(labels)}"
        )
    if network.precision == "fp32":
        _check_there(folder, WEIGHTS)
        weights_header(folder / WEIGHTS)
    _check_size(folder / GRAPH, LONGEST_GRAPH)
    return Bundle(folder, labels, preprocessing, network)


def weights_header(weights: Path) -> SafetensorsHeader:
    """Raises BrokenBundle if the header is broken or does not fit the file's length."""
    try:
        return read_header(weights)
    except ValueError as error:
        raise BrokenBundle(f"{weights.name} {error}") from error


def tensor_offsets(weights: Path) -> Mapping[str, TensorPlace]:
    """Places by tensor name. Raises BrokenBundle like `weights_header`."""
    return weights_header(weights).places


def _check_there(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise BrokenBundle(f"{name} is missing; train or publish the version again")


def _check_size(path: Path, most: int) -> None:
    size = path.stat().st_size
    if size > most:
        raise BrokenBundle(f"{path.name} has {size:,} bytes, more than {most:,}")


def _parse(path: Path, parse: Callable[[Any], T]) -> T:
    _check_size(path, LONGEST_JSON)
    try:
        return parse(parse_json(path.read_bytes()))
    except ValueError as error:
        raise BrokenBundle(f"{path.name} cannot be read: {error}") from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")

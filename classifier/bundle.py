"""The files of a version: what they are called, how they are written and checked."""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from classifier.labels import Labels
from classifier.preprocessing import Preprocessing

T = TypeVar("T")

Precision = Literal["fp32", "int8"]

WEIGHTS = "weights.safetensors"
GRAPH = "model.onnx"
LABELS = "labels.json"
PREPROCESSING = "preprocessing.json"
NETWORK = "network.json"
VALIDATION_PREDICTIONS = "validation_predictions.parquet"


class BrokenBundle(ValueError):
    """Files of a version that are missing, cut off or do not fit each other."""


class NoBundle(BrokenBundle):
    """A version without files of ours: another tool made it, or they were deleted."""


class QuantisedBundle(ValueError):
    """An int8 form where fp32 weights are needed."""


@dataclass(frozen=True)
class NetworkSpec:
    """What it takes to build the network again; network.json."""

    architecture: str
    stem: str
    classes: int
    precision: Precision = "fp32"
    """`int8`: there is no file of weights, they lie in the graph alone."""

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(
                f"precision must be {' or '.join(get_args(Precision))}, "
                f"got {self.precision!r}"
            )


@dataclass(frozen=True)
class Bundle:
    """A version's files, read and found whole; the weights stay on disk."""

    folder: Path
    labels: Labels
    preprocessing: Preprocessing
    network: NetworkSpec

    @property
    def weights(self) -> Path:
        """QuantisedBundle where the graph alone has them."""
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
    """`weights` are the network's state dict, under its names; None for int8."""
    assert (weights is None) == (network.precision == "int8")
    if weights is not None:
        # save_file() would make it readable by its owner alone; a service is another
        # user.
        (folder / WEIGHTS).write_bytes(save(dict(weights)))
    (folder / GRAPH).write_bytes(graph)
    _write_json(folder / LABELS, labels.to_json())
    _write_json(folder / PREPROCESSING, preprocessing.to_json())
    _write_json(folder / NETWORK, asdict(network))
    return Bundle(folder, labels, preprocessing, network)


def read_bundle(folder: Path) -> Bundle:
    """BrokenBundle says which file and what about it."""
    _check_there(folder, GRAPH, LABELS, PREPROCESSING, NETWORK)
    labels = _parse(folder / LABELS, Labels.from_json)
    preprocessing = _parse(folder / PREPROCESSING, Preprocessing.from_json)
    network = _parse(folder / NETWORK, lambda fields: NetworkSpec(**fields))
    if network.classes != len(labels):
        raise BrokenBundle(
            f"{NETWORK} has {network.classes} classes and {LABELS} {len(labels)}"
        )
    if network.precision == "fp32":
        _check_there(folder, WEIGHTS)
        tensor_offsets(folder / WEIGHTS)
    return Bundle(folder, labels, preprocessing, network)


def _check_there(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise BrokenBundle(f"{name} is missing; train or publish the version again")


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor's bytes lie in a safetensors file."""

    offset: int
    length: int


def tensor_offsets(weights: Path) -> dict[str, TensorPlace]:
    """By tensor name; BrokenBundle where the file is not as long as its header says.

    The format: 8 bytes of little-endian header length, a JSON header with offsets that
    count from its end, the tensors (github.com/huggingface/safetensors, "Format").
    """
    size = weights.stat().st_size
    with weights.open("rb") as file:
        prefix = file.read(8)
        header_length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + header_length > size:
            raise BrokenBundle(f"{WEIGHTS} is cut off: {size:,} bytes")
        try:
            header: dict[str, Any] = json.loads(file.read(header_length))
        except ValueError as error:
            raise BrokenBundle(f"{WEIGHTS} has no safetensors header") from error
    header.pop("__metadata__", None)
    start = 8 + header_length
    ends = [entry["data_offsets"][1] for entry in header.values()]
    if start + max(ends, default=0) != size:
        raise BrokenBundle(
            f"{WEIGHTS} has {size:,} bytes; its header tells of {start + max(ends):,}"
        )
    return {
        name: TensorPlace(
            offset=start + entry["data_offsets"][0],
            length=entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
    }


def _parse(path: Path, parse: Callable[[Any], T]) -> T:
    try:
        return parse(json.loads(path.read_text("utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenBundle(f"{path.name} cannot be read: {error!r}") from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")

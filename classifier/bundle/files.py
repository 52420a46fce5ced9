"""The files of a version: their names, how they are written and checked."""

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from classifier.bundle.labels import Labels
from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.bundle.strict_json import fields_of, integer, one_of, parse_json
from classifier.console.exits import NotNow, WrongUsage
from classifier.storage import write_json

T = TypeVar("T")

WEIGHTS = "weights.safetensors"
GRAPH = "model.onnx"
LABELS = "labels.json"
PREPROCESSING = "preprocessing.json"
NETWORK = "network.json"
VALIDATION_PREDICTIONS = "validation_predictions.parquet"

KEPT_IMAGES = "proof/images.npy"
"""File of a run, not of a version: a sample of its validation images as the network
sees them, uint8 [N, H, W, 3]. Fast forms of its versions are proved on them."""

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
    write_json(folder / LABELS, labels.to_json())
    write_json(folder / PREPROCESSING, preprocessing.to_json())
    write_json(folder / NETWORK, network.to_json())
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


_SHA256 = re.compile(r"[0-9a-f]{64}")


def digests_text(digests: Mapping[str, str]) -> str:
    """sha256 of a version's files by path, as the tag of its logged model keeps them.

    A version of eight files takes 0.8 kB; MLflow's databases keep 64 kB or more.
    """
    return json.dumps(dict(sorted(digests.items())), separators=(",", ":"))


def parse_digests(text: str) -> dict[str, str]:
    """The digests that `digests_text` wrote. Raises ValueError for anything else.

    No path leaves the version's folder, as files are written to these paths.
    """
    found = parse_json(text.encode())
    if not isinstance(found, dict) or not found:
        raise ValueError(f"digests must be an object of paths, got {found!r:.80}")
    for path, digest in found.items():
        parts = PurePosixPath(path).parts
        is_plain = parts and path == "/".join(parts) and not {"..", "/"} & {*parts}
        if not is_plain or "\\" in path or "\0" in path:
            raise ValueError(f"{path!r:.80} is no path below a version's folder")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ValueError(f"the sha256 of {path!r:.80} is {digest!r:.80}")
    return found


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


LONGEST_HEADER = 16 * 2**20
"""ResNet-18's takes 12 kB; the library itself stops at 100 MB."""

MOST_DIMENSIONS = 32

ITEM_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of a number, by the format's name of its type."""


@dataclass(frozen=True)
class TensorPlace:
    """Place of a tensor's bytes in the file, and their number type."""

    offset: int
    length: int
    dtype: str
    """The format's name: F32, I64 …"""


@dataclass(frozen=True)
class SafetensorsHeader:
    text: bytes
    """The JSON as it is in the file."""

    places: Mapping[str, TensorPlace]


def weights_header(weights: Path) -> SafetensorsHeader:
    """Raises BrokenBundle if the header is broken or does not fit the file's length.

    A file has 8 bytes of little-endian length, a JSON object, and the tensors one after
    the other; offsets count from the end of the JSON
    (github.com/huggingface/safetensors, "Format").
    """
    size = weights.stat().st_size
    with weights.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            raise BrokenBundle(f"{WEIGHTS} is cut off: {size:,} bytes")
        if length > LONGEST_HEADER:
            raise BrokenBundle(f"{WEIGHTS} has a header of {length:,} bytes, too long")
        text = file.read(length)
    try:
        places = _places(text)
    except ValueError as error:
        raise BrokenBundle(f"{WEIGHTS} has a broken header: {error}") from error
    end = 8 + length + sum(place.length for place in places.values())
    if end != size:
        raise BrokenBundle(f"{WEIGHTS} has {size:,} bytes; its header needs {end:,}")
    return SafetensorsHeader(text, places)


def _places(text: bytes) -> dict[str, TensorPlace]:
    header = parse_json(text)
    if not isinstance(header, dict):
        raise ValueError(f"it is no object: {header!r:.80}")
    header.pop("__metadata__", None)
    end = 8 + len(text)
    places = {name: _place(name, entry, end) for name, entry in header.items()}
    for place in sorted(places.values(), key=lambda p: (p.offset, p.length)):
        if place.offset != end:
            raise ValueError("tensors overlap, or leave a gap between them")
        end += place.length
    return places


def _place(name: str, entry: Any, start: int) -> TensorPlace:
    fields = fields_of(entry, ("dtype", "shape", "data_offsets"))
    dtype = one_of(fields["dtype"], f"the dtype of {name!r:.80}", ITEM_BYTES)
    shape = _whole_numbers(fields["shape"], f"the shape of {name!r:.80}")
    offsets = _whole_numbers(fields["data_offsets"], f"the offsets of {name!r:.80}")
    if len(offsets) != 2:
        raise ValueError(f"the offsets of {name!r:.80} are no begin and end")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"the offsets of {name!r:.80} do not fit its shape")
    return TensorPlace(offset=start + begin, length=end - begin, dtype=dtype)


def _whole_numbers(found: Any, name: str) -> list[int]:
    if not isinstance(found, list) or len(found) > MOST_DIMENSIONS:
        raise ValueError(f"{name} must be a list of numbers, got {found!r:.80}")
    return [integer(value, name, least=0, most=2**63) for value in found]

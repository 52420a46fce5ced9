"""The key of a trial: versions with the same key load alike, so one trial is enough."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from classifier.bundle.files import WEIGHTS, Bundle, weights_header
from classifier.hardware import Form
from classifier.inference.backends.open import runtime_versions
from serving.versions.registry_watch import VersionFiles

FORMAT = 2
"""To be increased when the trial changes."""

LARGEST_LOOKED_THROUGH = 64 * 2**20
"""Largest graph in bytes that is inspected; ResNet-18's has 0.1 MB."""

# Operators whose output size follows from input shapes and attributes alone.
_SIZED_BY_SHAPES = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Erf", "Neg", "Abs"),
        *("Reciprocal", "Max", "Min", "Mean", "Sum", "Clip", "Cast", "Identity"),
        *("Conv", "Gemm", "MatMul", "Dropout", "QuantizeLinear", "DequantizeLinear"),
        *("BatchNormalization", "LayerNormalization", "InstanceNormalization"),
        *("GroupNormalization", "Relu", "LeakyRelu", "PRelu", "Elu", "Gelu", "Tanh"),
        *("Sigmoid", "HardSigmoid", "HardSwish", "Softmax", "LogSoftmax"),
        *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
        *("ReduceMean", "ReduceMax", "ReduceSum", "Transpose", "Reshape", "Flatten"),
        *("Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Gather"),
    )
)
_TELLS_A_SHAPE = frozenset(("Shape", "Size"))


def trial_key(bundle: Bundle, form: Form, *limits: float) -> str:
    """The key; the same for all epochs of a run if values of weights decide no size.

    If they may decide one, the state of all files is part of the key.
    """
    preprocessing, network = bundle.preprocessing, bundle.network
    shape = (preprocessing.height, preprocessing.width, network.classes)
    facts = [FORMAT, *runtime_versions(), str(form), *shape, *limits]
    facts.append(network.precision)
    digest = hashlib.sha256(json.dumps(facts).encode())
    with bundle.graph.open("rb") as graph:
        digest.update(hashlib.file_digest(graph, "sha256").digest())
    if network.precision == "fp32":
        digest.update(weights_header(bundle.weights).text)
    if not is_sized_by_shapes(bundle.graph):
        # The files' state, not their content: there may be terabytes.
        state = VersionFiles.of(bundle.folder).state
        digest.update(repr(sorted(state, key=repr)).encode())
    return digest.hexdigest()


def is_sized_by_shapes(graph: Path) -> bool:
    """Whether no value in the file of weights can change the memory or time of a run.

    Follows these values through the graph, with a small parser: the service does not
    depend on the package onnx. False if anything is unusual.
    """
    if graph.stat().st_size > LARGEST_LOOKED_THROUGH:
        return False
    try:
        return _is_sized_by_shapes(graph.read_bytes())
    except (ValueError, IndexError):
        return False


def _is_sized_by_shapes(model: bytes) -> bool:
    """The numbers are the fields of onnx.proto."""
    by_name = [number for number, _ in _fields(model)]
    if 25 in by_name or by_name.count(7) != 1:  # functions; the graph
        return False
    parts = list(_fields(_only(model, 7)))
    if any(number == 15 for number, _ in parts):  # sparse initialisers
        return False
    from_weights = set()
    for tensor in (value for number, value in parts if number == 5):
        if _lies_elsewhere(tensor):
            if not _lies_in_weights(tensor):
                return False
            from_weights.add(_only(tensor, 8))
    nodes = [_Node(value) for number, value in parts if number == 1]
    return all(node.is_plain for node in nodes) and _stay_values(nodes, from_weights)


def _stay_values(nodes: "list[_Node]", from_weights: set[bytes]) -> bool:
    """Whether these values reach no operator whose output size they could decide."""
    known = 0
    while known != len(from_weights):  # nodes may stand in any order
        known = len(from_weights)
        for node in nodes:
            if node.operator in _TELLS_A_SHAPE or from_weights.isdisjoint(node.inputs):
                continue
            if node.operator not in _SIZED_BY_SHAPES:
                return False
            from_weights.update(node.outputs)
    return True


class _Node:
    def __init__(self, data: bytes) -> None:
        fields = list(_fields(data))
        self.inputs = [value for number, value in fields if number == 1 and value]
        self.outputs = [value for number, value in fields if number == 2 and value]
        self.operator = _only(data, 4).decode()
        domain = b"".join(value for number, value in fields if number == 7)
        attributes = [list(_fields(value)) for number, value in fields if number == 5]
        self.is_plain = domain == b"" and not any(
            # Subgraphs, sparse tensors, or a tensor in another file.
            number in (6, 11, 22, 23) or (number in (5, 10) and _lies_elsewhere(value))
            for attribute in attributes
            for number, value in attribute
        )


def _lies_elsewhere(tensor: bytes) -> bool:
    return any(number == 13 for number, _ in _fields(tensor))


def _lies_in_weights(tensor: bytes) -> bool:
    entries = [value for number, value in _fields(tensor) if number == 13]
    found = {_only(entry, 1): _only(entry, 2) for entry in entries}
    return len(found) == len(entries) and found.get(b"location") == WEIGHTS.encode()


def _only(data: bytes, wanted: int) -> bytes:
    (value,) = (value for number, value in _fields(data) if number == wanted)
    return value


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message (protobuf.dev, "Encoding")."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("cut off")
            yield tag >> 3, data[at : at + length]
            at += length
        elif tag & 7 == 0:
            _, at = _varint(data, at)
        elif tag & 7 in (1, 5):
            at += 8 if tag & 7 == 1 else 4
        else:
            raise ValueError("a group")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at
    raise ValueError("no number")

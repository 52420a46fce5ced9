"""The graph of a version around one made elsewhere: pixels in, logits out."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from classifier.bundle.preprocessing import Preprocessing
from classifier.bundle.sidecar import Output
from classifier.inference.backends.onnx_file import CHANNELS, Array, of_255
from training.publishing.export import without_weights
from training.publishing.foreign_graph import ForeignGraph, UnfitModel, inner_graphs

OPSET = 17
"""Older graphs are converted to it, as quantising needs 13 or later."""

_LEAST_WEIGHT = 16
"""Tensors of more numbers are weights; ONNX Runtime needs the values of smaller ones,
such as shapes, before it reads the file of weights."""

_SAFE_TYPES = frozenset(
    ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
)
"""numpy's types that safetensors has too."""

Steps = list[tuple[str, list[str], dict[str, Any]]]
"""Operators in a row: the kind, inputs besides the one before, attributes."""


def look_like_probabilities(answers: NDArray[np.float32], *, tolerance: float) -> bool:
    sums = answers.astype(np.float64).sum(axis=1)
    return bool((answers >= 0).all() and np.allclose(sums, 1, atol=10 * tolerance))


def logits_of(answers: NDArray[np.float32], output: Output) -> NDArray[np.float32]:
    """[N, K]. A probability of 0 becomes the logarithm of the least float32."""
    if output == "logits":
        return answers
    logits: NDArray[np.float32] = np.log(np.maximum(answers, _least()))
    return logits


def wrapped(
    foreign: ForeignGraph,
    preprocessing: Preprocessing,
    *,
    output: Output,
    classes: int,
) -> tuple[bytes, dict[str, Array]]:
    """A version's graph around the foreign one, and its weights by their names.

    It takes uint8 `images` [N, H, W, 3], normalises them, and gives float32 `logits`.
    """
    model = _with_new_opset(foreign.model)
    graph = model.graph
    prefix = _free_prefix(graph)
    if foreign.batch is not None:
        _free_batch(graph, foreign, prefix)
    for name in ("images", "logits"):
        _rename(graph, name, f"{prefix}{name}")
    takes, gives = (
        f"{prefix}{name}" if name in ("images", "logits") else name
        for name in (foreign.takes, foreign.gives)
    )
    before, constants = _normalising(foreign, preprocessing, prefix, to=takes)
    after, least = _closing(gives, output, prefix)
    nodes, used = [*before, *graph.node, *after], _used(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    for name, value in {**constants, **least}.items():
        kept.append(numpy_helper.from_array(value, name))
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    del graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    size = (preprocessing.height, preprocessing.width)
    value_info = helper.make_tensor_value_info
    graph.input.append(value_info("images", TensorProto.UINT8, ["N", *size, 3]))
    graph.output.append(value_info("logits", TensorProto.FLOAT, ["N", classes]))
    model.ir_version = max(model.ir_version, 8)  # 3 lists weights among the inputs
    weights = _weights(graph)
    try:
        return without_weights(model, weights, prefix=""), weights
    except ValueError as error:  # protobuf's limit of 2 GB
        raise UnfitModel(f"{foreign.name} is too large: {error}") from error


def _normalising(
    foreign: ForeignGraph, preprocessing: Preprocessing, prefix: str, *, to: str
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """Nodes from `images` to the foreign input, and their constants."""
    steps: Steps = []
    constants: dict[str, Array] = {}
    shape = [1, 1, 1, CHANNELS]
    if foreign.layout == "nchw":
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
        shape = [1, CHANNELS, 1, 1]
    if not foreign.normalises_itself:
        mean, std = (values.reshape(shape) for values in of_255(preprocessing))
        constants = {f"{prefix}mean": mean, f"{prefix}std": std}
        steps.append(("Cast", [], {"to": TensorProto.FLOAT}))
        steps += [("Sub", [f"{prefix}mean"], {}), ("Div", [f"{prefix}std"], {})]
        if foreign.dtype is not np.float32:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(foreign.dtype))
            steps.append(("Cast", [], {"to": kind}))
    steps = steps or [("Identity", [], {})]
    return _chain("images", steps, to, names=f"{prefix}in."), constants


def _closing(
    gives: str, output: Output, prefix: str
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """Nodes from the foreign output to `logits`, and their constants."""
    steps: Steps = [
        ("Cast", [], {"to": TensorProto.FLOAT}),
        ("Flatten", [], {"axis": 1}),  # [N, K, 1, 1] -> [N, K]
    ]
    constants: dict[str, Array] = {}
    if output == "probabilities":
        constants[f"{prefix}least"] = np.array(_least())
        steps += [("Max", [f"{prefix}least"], {}), ("Log", [], {})]
    return _chain(gives, steps, "logits", names=f"{prefix}out."), constants


def _chain(start: str, steps: Steps, end: str, *, names: str) -> list[onnx.NodeProto]:
    """Nodes one after the other, from the value `start` to the value `end`."""
    nodes = []
    for place, (kind, more, attributes) in enumerate(steps):
        name = f"{names}{place}"
        to = end if place == len(steps) - 1 else name
        nodes.append(helper.make_node(kind, [start, *more], [to], name, **attributes))
        start = to
    return nodes


def _weights(graph: onnx.GraphProto) -> dict[str, Array]:
    """Values of the initialisers that become external data; kept in the graph too."""
    weights = {}
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size > _LEAST_WEIGHT and array.dtype.str[1:] in _SAFE_TYPES:
            weights[tensor.name] = np.ascontiguousarray(array)
            # One field for the values, whatever the file used.
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return weights


def _free_batch(graph: onnx.GraphProto, foreign: ForeignGraph, prefix: str) -> None:
    """Lets reshapes to the fixed number of images take any number.

    Only a proof shows that nothing else depends on the number.
    """
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    of_images = {foreign.takes}
    for place, node in enumerate(graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        if not of_images.intersection(node.input):
            continue
        of_images.update(node.output)
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        first, *rest = constants[node.input[1]].tolist() or [None]
        if first == foreign.batch:
            shape = np.array([0 if -1 in rest else -1, *rest], np.int64)
            node.input[1] = f"{prefix}shape.{place}"
            graph.initializer.append(numpy_helper.from_array(shape, node.input[1]))


def _used(graph: onnx.GraphProto) -> set[str]:
    """Names of the values that nodes take, in the graph and those inside it."""
    used = {name for node in graph.node for name in node.input}
    used.update(value.name for value in graph.output)
    for node in graph.node:
        for attribute in node.attribute:
            used.update(*map(_used, inner_graphs(attribute)))
    return used


def _free_prefix(graph: onnx.GraphProto) -> str:
    """A prefix of names that are new; an imported version may be imported again."""
    taken = _used(graph) | {node.name for node in graph.node}
    taken.update(name for node in graph.node for name in node.output)
    number = 0
    while any(name.startswith(f"flipside{number or ''}.") for name in taken):
        number += 1
    return f"flipside{number or ''}."


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Renames a value in the graph and those inside it."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
        for attribute in node.attribute:
            for inner in inner_graphs(attribute):
                _rename(inner, old, new)
    for tensor in graph.initializer:
        if tensor.name == old:
            tensor.name = new
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new


def _with_new_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy, of OPSET or later where onnx's converter can do it."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    opsets = {entry.domain: entry.version for entry in copied.opset_import}
    if opsets.get("", opsets.get("ai.onnx", OPSET)) >= OPSET:
        return copied
    try:
        converted: onnx.ModelProto = onnx.version_converter.convert_version(
            copied, OPSET
        )
    except Exception:  # its errors in C++ share no class
        return copied
    return converted


def _least() -> np.float32:
    return np.finfo(np.float32).tiny

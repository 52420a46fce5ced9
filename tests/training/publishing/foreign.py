"""Files as other tools leave them: the tiny network of a version as an ONNX graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from classifier.bundle.files import Bundle

SIDE, CLASSES = 16, 10


def write_graph(
    file: Path,
    bundle: Bundle,
    *,
    layout: str = "nchw",
    batch: int | str = "N",
    sides: Sequence[Any] = (SIDE, SIDE),
    takes: int = TensorProto.FLOAT,
    probabilities: bool = False,
    takes_name: str = "data",
    gives_name: str = "out",
    opset: int = 18,
    flat: Sequence[int] | None = None,
    more: Sequence[onnx.NodeProto] = (),
    metadata: Mapping[str, str] | None = None,
    **saved: Any,
) -> Path:
    """The network of digits-tiny with the bundle's weights; images normalised outside.

    `flat` is the shape that a Reshape gives the features, instead of Flatten; `more`
    are nodes between `out.0` and what it gives.
    """
    values = load_file(bundle.weights)
    axes = [batch, 3, *sides] if layout == "nchw" else [batch, *sides, 3]
    nodes, last = [], takes_name
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [last], ["chw"], perm=[0, 3, 1, 2]))
        last = "chw"
    if takes != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [last], ["fp32"], to=TensorProto.FLOAT))
        last = "fp32"
    for layer in ("0", "2", "4"):
        stride = 2 if layer != "0" else _first_stride(bundle)
        nodes += [
            helper.make_node(
                "Conv",
                [last, f"{layer}.weight", f"{layer}.bias"],
                [f"conv{layer}"],
                strides=[stride, stride],
                pads=[1, 1, 1, 1],
            ),
            helper.make_node("Relu", [f"conv{layer}"], [f"relu{layer}"]),
        ]
        last = f"relu{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["mean"]))
    if flat is None:
        nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    else:
        values["shape"] = np.array(flat, np.int64)
        nodes.append(helper.make_node("Reshape", ["mean", "shape"], ["flat"]))
    nodes.append(
        helper.make_node("Gemm", ["flat", "8.weight", "8.bias"], ["out.0"], transB=1)
    )
    last = "out.1" if more else "out.0"
    end = helper.make_node("Identity", [last], [gives_name])
    if probabilities:
        end = helper.make_node("Softmax", [last], [gives_name], axis=1)
    nodes += [*more, end]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(takes_name, takes, axes)],
        [
            helper.make_tensor_value_info(
                gives_name, TensorProto.FLOAT, [batch, CLASSES]
            )
        ],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    for key, text in (metadata or {}).items():
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, file, **saved)
    return file


def _first_stride(bundle: Bundle) -> int:
    return 1 if bundle.network.stem == "small" else 2

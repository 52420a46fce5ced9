"""Graphs as somebody else may have put them into a version."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CLASSES = 10
SIDE = 16


def graph(
    nodes: Sequence[Any] = (),
    *,
    constants: dict[str, Any] | None = None,
    images: Sequence[Any] = ("N", SIDE, SIDE, 3),
    takes: int = TensorProto.UINT8,
    input_name: str = "images",
    logits: Sequence[Any] | None = ("N", CLASSES),
    gives: int = TensorProto.FLOAT,
    output_name: str = "logits",
    last: str = "plain",
) -> bytes:
    """The mean of each channel times a matrix, and then `nodes`; the value `last` of
    these is what it gives."""
    common = [
        helper.make_node("Cast", [input_name], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "sides"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["plain"]),
    ]
    end = helper.make_node("Cast", [last], [output_name], to=gives)
    values = {
        "sides": np.array([1, 2], np.int64),
        "matrix": np.ones((3, CLASSES), np.float32),
        **(constants or {}),
    }
    made = helper.make_graph(
        [*common, *nodes, end],
        "graph",
        [helper.make_tensor_value_info(input_name, takes, images)],
        [helper.make_tensor_value_info(output_name, gives, logits)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in values.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(made, opset_imports=opset, ir_version=9)
    whole: bytes = model.SerializeToString()
    return whole

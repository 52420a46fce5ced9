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


def of_megabytes(count: int) -> bytes:
    """A constant of that size is made where the graph runs; it has 100 bytes here."""
    ones = helper.make_tensor("ones", TensorProto.FLOAT, [1], [1.0])
    return graph(
        [
            helper.make_node("ConstantOfShape", ["size"], ["huge"], value=ones),
            helper.make_node("ReduceMax", ["huge"], ["one"], keepdims=0),
            helper.make_node("Mul", ["plain", "one"], ["odd"]),
        ],
        constants={"size": np.array([count * 2**18], np.int64)},
        last="odd",
    )


def of_megabytes_an_image(count: int) -> bytes:
    """As of_megabytes, for each image of a batch."""
    ones = helper.make_tensor("ones", TensorProto.FLOAT, [1], [1.0])
    return graph(
        [
            helper.make_node("Shape", ["images"], ["batch"], end=1),
            helper.make_node("Concat", ["batch", "size"], ["shape"], axis=0),
            helper.make_node("ConstantOfShape", ["shape"], ["huge"], value=ones),
            helper.make_node("ReduceMax", ["huge"], ["one"], keepdims=0),
            helper.make_node("Mul", ["plain", "one"], ["odd"]),
        ],
        constants={"size": np.array([count * 2**18], np.int64)},
        last="odd",
    )


def endless() -> bytes:
    """A loop of 4e18 steps."""
    number, yes = TensorProto.FLOAT, TensorProto.BOOL
    step = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["value", "value"], ["sum"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("place", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", yes, []),
            helper.make_tensor_value_info("value", number, ["N", CLASSES]),
        ],
        [
            helper.make_tensor_value_info("go_on", yes, []),
            helper.make_tensor_value_info("sum", number, ["N", CLASSES]),
        ],
    )
    return graph(
        [helper.make_node("Loop", ["steps", "yes", "plain"], ["odd"], body=step)],
        constants={"steps": np.array(2**62, np.int64), "yes": np.array(True)},
        last="odd",
    )

"""From a version's fp32 graph to an int8 one, calibrated on training images."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from classifier.bundle import Bundle
from classifier.dataset import Part

CALIBRATION_IMAGES = 512
"""At least, where there are as many. 1,000 take twice as long, and make 0.2 points more
first answers agree with fp32 (Tiny ImageNet, ResNet-18)."""

BATCH_SIZE = 32
"""A value's range is the mean of its extremes in batches of this size."""


def calibration_part(train: Part, *, classes: int) -> Part:
    """The first images of each class, as many of each, CALIBRATION_IMAGES or more."""
    return train.first_per_class(math.ceil(CALIBRATION_IMAGES / classes))


def quantise(bundle: Bundle, images: NDArray[np.uint8]) -> bytes:
    """The int8 graph, its weights inside; calibrated on `images` [N, H, W, 3].

    Activations are uint8 and weights int8, one scale for each output channel: with int8
    activations ONNX Runtime is four times slower on x86. Each choice with
    its numbers is in docs/decisions.md.
    """
    with tempfile.TemporaryDirectory(prefix="flipside-") as folder:
        whole, prepared, quantised = (
            str(Path(folder) / name)
            for name in ("whole.onnx", "prepared.onnx", "quantised.onnx")
        )
        # Both tools look for external weights in folders of their own.
        onnx.save(onnx.load(str(bundle.graph)), whole)
        # Folds batch norm into the convolutions before it. The symbolic inference of
        # shapes wants sympy; the plain one finds all there are.
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantised,
            _Batches(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_dense_nodes(prepared),
            extra_options={"CalibMovingAverage": True},
        )
        return Path(quantised).read_bytes()


def _dense_nodes(graph: str) -> list[str]:
    """The last layer stays fp32: 0.1 % of the work, a fifth of the changed answers."""
    nodes = onnx.load(graph).graph.node
    return [node.name for node in nodes if node.op_type in ("Gemm", "MatMul")]


class _Batches:
    """What quantize_static() takes: `get_next()`, until None.

    In an order of its own, the same each time: part by class, a batch would hold few
    classes and narrow ranges.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        order = np.random.default_rng(0).permutation(len(images))
        # Parts of nearly one size, as the extremes of a small batch are small.
        parts = np.array_split(order, math.ceil(len(images) / BATCH_SIZE))
        self._batches: Iterator[NDArray[np.uint8]] = (images[part] for part in parts)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}

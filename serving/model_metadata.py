"""What the Open Inference Protocol tells of a version before it is asked."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.bodies import MAX_IMAGES
from serving.config import BackendKind
from serving.inference_request import DECLARED, INPUT
from serving.predictor import Predictor

PLATFORMS: Mapping[BackendKind, str] = {
    "onnx": "onnx_onnxv1",
    "torch": "pytorch_safetensors",
}
"""A project and its format; the protocol names the first, the second is ours."""


def metadata(predictor: Predictor, versions: Sequence[str]) -> dict[str, Any]:
    """Its tensors; an input has one datatype here, BYTES [-1] is taken as well, and
    `logits` are given to who asks for them."""
    height, width = predictor.size
    classes = len(predictor.bundle.labels)
    return {
        "name": predictor.version.model,
        "versions": versions,
        "platform": PLATFORMS[predictor.backend.name],
        "inputs": [
            {"name": INPUT, "datatype": "UINT8", "shape": [-1, height, width, 3]}
        ],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": [-1, classes]}
            for name in DECLARED
        ],
    }


def configuration(predictor: Predictor) -> dict[str, Any]:
    """In Triton's words, whose shapes leave out the number of images."""
    classes = len(predictor.bundle.labels)
    return {
        "name": predictor.version.model,
        "platform": PLATFORMS[predictor.backend.name],
        # Of a request: what the network sees at once is cut from what is queued.
        "max_batch_size": MAX_IMAGES,
        "input": [
            {
                "name": INPUT,
                "data_type": "TYPE_UINT8",
                "format": "FORMAT_NHWC",
                "dims": [*predictor.size, 3],
            }
        ],
        "output": [
            {"name": name, "data_type": "TYPE_FP32", "dims": [classes]}
            for name in DECLARED
        ],
        "dynamic_batching": {},
    }

"""BentoML: image files in, as in its "Input and output types"; adaptive batching."""

import os
from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from benchmarks.peers.onnx_model import OnnxModel


@bentoml.service(workers=int(os.environ["PEER_WORKERS"]))
class Classifier:
    def __init__(self) -> None:
        self._model = OnnxModel()

    @bentoml.api(batchable=True, max_batch_size=32)  # type: ignore[untyped-decorator]  # the same
    def predict(self, images: list[Image]) -> list[list[dict[str, Any]]]:
        decoded = np.stack([self._model.resize(image) for image in images])
        return [self._model.top_five(row) for row in self._model.logits(decoded)]

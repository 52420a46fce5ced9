"""The version's ONNX graph, as all peers but Flask run it: images in, best five out.

numpy, Pillow and onnxruntime alone, since each peer has an environment of its own.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image


class OnnxModel:
    """A version's graph and labels; PEER_BUNDLE is its folder."""

    def __init__(self) -> None:
        folder = Path(os.environ["PEER_BUNDLE"])
        options = onnxruntime.SessionOptions()
        # Its own default is the machine's cores in each worker, and much slower.
        options.intra_op_num_threads = int(os.environ["PEER_THREADS"])
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._labels = json.loads((folder / "labels.json").read_text("utf-8"))
        preprocessing = json.loads((folder / "preprocessing.json").read_text("utf-8"))
        self._size = (preprocessing["width"], preprocessing["height"])

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]."""
        return self.resize(Image.open(io.BytesIO(data)))

    def resize(self, image: Image.Image) -> NDArray[np.uint8]:
        rgb = image.convert("RGB")
        if rgb.size != self._size:
            rgb = rgb.resize(self._size, Image.Resampling.BILINEAR)
        return np.asarray(rgb)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, H, W, 3] -> float32 [N, K]."""
        logits: NDArray[np.float32] = self._session.run(None, {"images": images})[0]
        return logits

    def top_five(self, logits: NDArray[np.float32]) -> list[dict[str, Any]]:
        """float32 [K] -> five entries, by falling probability."""
        exponents = np.exp(logits - logits.max())
        probabilities = exponents / exponents.sum()
        return [
            {**self._labels[index], "probability": float(probabilities[index])}
            for index in np.argsort(-probabilities)[:5]
        ]

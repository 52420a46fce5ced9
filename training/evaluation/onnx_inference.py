"""A version's graph under ONNX Runtime, on the CPU: what it answers and how fast."""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from classifier.bundle.files import Bundle
from classifier.hardware import usable_cores
from training.evaluation.evaluate import BATCH_SIZE

TIMED_BATCHES = 7


class OnnxNetwork:
    """A bundle's graph, ready to answer."""

    def __init__(self, bundle: Bundle) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        self._session: Any = onnxruntime.InferenceSession(
            str(bundle.graph), options, providers=["CPUExecutionProvider"]
        )

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [N, H, W, 3] -> [N, K]."""
        (logits,) = self._session.run(["logits"], {"images": images})
        answer: NDArray[np.float32] = logits
        return answer

    def logits_by_batch(
        self, images: NDArray[np.uint8]
    ) -> Iterator[NDArray[np.float32]]:
        """[n, K] for each BATCH_SIZE of `images`, as `evaluate` gives them."""
        for start in range(0, len(images), BATCH_SIZE):
            yield self.logits(np.asarray(images[start : start + BATCH_SIZE]))

    def images_per_second(self, images: NDArray[np.uint8]) -> float:
        """The median over a few runs of one batch, `images`."""
        self.logits(images)  # the first run allocates
        seconds = []
        for _ in range(TIMED_BATCHES):
            started = time.perf_counter()
            self.logits(images)
            seconds.append(time.perf_counter() - started)
        return len(images) / statistics.median(seconds)

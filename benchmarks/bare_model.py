"""Speed of the model alone: ONNX Runtime in this process, on decoded images.

The speed of a server is reported as a share of it, measured at nearly the same time: a
shared machine can be twice as fast a minute later.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.load import IMAGES_A_REQUEST
from classifier.bundle.files import Bundle, read_bundle
from classifier.hardware import usable_cores


@dataclass(frozen=True, kw_only=True)
class Bare:
    """One measurement."""

    at: float
    """Middle of the measurement, by time.monotonic()."""

    rate: float
    """Images a second in batches of 32."""

    single_p50_ms: float
    """Median milliseconds of a batch of one image."""


def open_session(bundle: Bundle) -> onnxruntime.InferenceSession:
    """A session with ONNX Runtime's own settings, on all usable cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    return onnxruntime.InferenceSession(
        str(bundle.graph), options, providers=["CPUExecutionProvider"]
    )


class BareModel:
    """A version's network in this process, and the decoded images."""

    def __init__(self, folder: Path, files: Sequence[bytes]) -> None:
        bundle = read_bundle(folder)
        self._session = open_session(bundle)
        self.images = np.stack([bundle.preprocessing.image(data) for data in files])
        """uint8 [N, H, W, 3]."""

        self.best: list[int] = self._logits(self.images).argmax(axis=1).tolist()
        """The likeliest class of each image."""

    def measure(self, seconds: float) -> Bare:
        """Half of the time in batches of 32, half in single images."""
        started = time.monotonic()
        batches = self._times(IMAGES_A_REQUEST, seconds / 2)
        singles = self._times(1, seconds / 2)
        return Bare(
            at=(started + time.monotonic()) / 2,
            rate=IMAGES_A_REQUEST * len(batches) / sum(batches),
            single_p50_ms=1000 * statistics.median(singles),
        )

    def _times(self, batch_size: int, seconds: float) -> list[float]:
        """Seconds of each batch, one or more."""
        self._logits(self.images[:batch_size])  # memory for this size
        times: list[float] = []
        starts = range(0, len(self.images), batch_size)
        while sum(times) < seconds:
            start = starts[len(times) % len(starts)]
            began = time.perf_counter()
            self._logits(self.images[start : start + batch_size])
            times.append(time.perf_counter() - began)
        return times

    def _logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._session.run(["logits"], {"images": images})[
            0
        ]
        return logits

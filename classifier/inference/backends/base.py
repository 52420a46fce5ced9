"""The protocol of a backend, which runs a version's network."""

import functools
import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from classifier.hardware import BackendKind, PrecisionKind

logger = logging.getLogger(__name__)


RunNetwork = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 RGB [N, H, W, 3] -> [N, K]."""


class Backend(Protocol):
    """A network ready to answer; safe to call from several threads."""

    name: BackendKind
    precision: PrecisionKind
    device: str
    """`cpu` or `cuda`: the device in use."""

    @property
    def logits_on_one_core(self) -> RunNetwork | None:
        """As `logits`, bit for bit, but on one core, to run several batches at once.
        None if batches are faster one after the other."""
        ...

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [N, H, W, 3] -> [N, K]."""
        ...

    def batch_sizes(self, largest: int) -> list[int]:
        """The batch sizes whose first run is slow, for warming up."""
        ...


@functools.cache
def log_device(backend: BackendKind, device: str, why: str) -> None:
    """Logs the device once a process, not for each version."""
    logger.info("device backend=%s device=%s reason=%s", backend, device, why)


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4 … and `largest`."""
    return [*(1 << n for n in range((largest - 1).bit_length())), largest]


def padded(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pads the batch with black images to a power of two.

    CUDA searches for the fastest convolution once for each batch size, and OpenVINO
    compiles for each.
    """
    missing = (1 << (len(images) - 1).bit_length()) - len(images)
    if missing == 0:
        return images
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))

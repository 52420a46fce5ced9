"""What runs a version's network, and how one is opened."""

import ctypes
import functools
import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import Bundle
from serving.config import BackendKind, DeviceKind, PrecisionKind

logger = logging.getLogger(__name__)


RunNetwork = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 RGB [N, H, W, 3] -> [N, K]."""


class DeviceUnavailable(RuntimeError):
    """The device that was asked for cannot be used here."""


class Backend(Protocol):
    """A network ready to answer; safe to call from several threads."""

    name: BackendKind
    device: str
    """`cpu` or `cuda`: where it really runs."""

    @property
    def logits_on_one_core(self) -> RunNetwork | None:
        """The same to the bit, for several batches at once, each on a core of its own;
        None where they are better run one after the other."""
        ...

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [N, H, W, 3] -> [N, K]."""
        ...

    def batch_sizes(self, largest: int) -> list[int]:
        """Those to run before anyone asks, as each takes long the first time."""
        ...


def open_backend(
    kind: BackendKind,
    bundle: Bundle,
    *,
    device: DeviceKind,
    precision: PrecisionKind = "fp32",
    threads: int,
) -> Backend:
    """DeviceUnavailable where `cuda` was asked for and cannot be had.

    Imported here, so that an image with ONNX Runtime alone needs no torch.
    """
    if kind == "torch":
        from serving.torch_backend import TorchBackend

        return TorchBackend(bundle, device=device, precision=precision, threads=threads)
    from serving.onnx_backend import OnnxBackend

    return OnnxBackend(bundle, device=device, threads=threads)


def has_gpu() -> bool:
    """Whether NVIDIA's driver is here and sees a device; never called before a fork."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


@functools.cache
def log_device(backend: BackendKind, device: str, why: str) -> None:
    """Once in a process, however many versions run there."""
    logger.info("device backend=%s device=%s reason=%s", backend, device, why)


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4 … up to `largest`, which is the last of them."""
    return [*(1 << n for n in range((largest - 1).bit_length())), largest]

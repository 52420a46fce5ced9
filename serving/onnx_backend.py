"""A version by ONNX Runtime, on CPU or CUDA."""

import logging
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from classifier.bundle import BrokenBundle, Bundle
from serving.backend import DeviceUnavailable, has_gpu, log_device, powers_of_two
from serving.config import BackendKind, DeviceKind

logger = logging.getLogger(__name__)


class OnnxBackend:
    """One session; ONNX Runtime lets any number of threads run it at once."""

    name: BackendKind = "onnx"

    def __init__(self, bundle: Bundle, *, device: DeviceKind, threads: int) -> None:
        providers = _providers(device)
        options = onnxruntime.SessionOptions()
        # Its own default counts the machine's cores, not those this process may use.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin between two requests take the cores decoding needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(bundle.graph), options, providers=providers
            )
        except Exception as error:  # ONNX Runtime's errors share no class of their own
            logger.exception("onnxruntime cannot load folder=%s", bundle.folder)
            raise BrokenBundle(
                f"{bundle.graph.name} cannot be loaded: {type(error).__name__}"
            ) from error
        self._session.disable_fallback()
        in_use = self._session.get_providers()[0]
        wanted = "CUDAExecutionProvider" if len(providers) > 1 else in_use
        if in_use != wanted:
            if device == "cuda":
                raise DeviceUnavailable(
                    f"{wanted} was asked for, but ONNX Runtime uses {in_use}; "
                    f"see its message above, or use --device cpu"
                )
            logger.warning("onnxruntime fell back provider=%s", in_use)
        self.device = "cuda" if in_use == "CUDAExecutionProvider" else "cpu"
        log_device("onnx", self.device, _why(device, self.device))

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(images)
        if self.device == "cuda":
            images = padded(images)
        (logits,) = self._session.run(["logits"], {"images": images})
        answer: NDArray[np.float32] = logits[:count]
        return answer

    def batch_sizes(self, largest: int) -> list[int]:
        return powers_of_two(largest) if self.device == "cuda" else sorted({1, largest})


def padded(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With images of nothing, up to the next power of two.

    CUDA looks for its fastest convolution once for each size of a batch.
    """
    missing = (1 << (len(images) - 1).bit_length()) - len(images)
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))


def _why(asked: DeviceKind, used: str) -> str:
    if asked != "auto":
        return "asked for"
    if used == "cuda":
        return "a GPU was found"
    if not has_gpu():
        return "no GPU was found"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this onnxruntime has no CUDA"
    return "onnxruntime cannot use the GPU, see its message"


def _providers(device: DeviceKind) -> list[Any]:
    """The first is the one to use."""
    built_in = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device != "cpu" and built_in and has_gpu():
        # Finds the CUDA libraries of the nvidia-* packages.
        onnxruntime.preload_dlls()
        # fp32, as it was measured: TF32, its default, keeps 10 bits.
        return [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    if device == "cuda":
        missing = (
            "no usable GPU was found"
            if built_in
            else "this onnxruntime has no CUDA; install flipside[gpu] instead of [cpu]"
        )
        raise DeviceUnavailable(
            f"--device cuda was asked for, but {missing}; or use --device auto"
        )
    return ["CPUExecutionProvider"]

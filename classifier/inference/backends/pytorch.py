"""The torch backend, on CPU or CUDA."""

from collections.abc import Collection

import numpy as np
import torch
from numpy.typing import NDArray

from classifier.bundle.files import Bundle
from classifier.hardware import (
    BackendKind,
    DeviceKind,
    DeviceUnavailable,
    PrecisionKind,
)
from classifier.inference.backends.base import log_device
from classifier.networks.image_classifier import ImageClassifier


class TorchBackend:
    """The network itself, in evaluation mode; on a GPU always fp32."""

    name: BackendKind = "torch"
    logits_on_one_core = None

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: DeviceKind,
        precision: PrecisionKind,
        threads: int,
        allowed: Collection[str] = (),
    ) -> None:
        has_cuda = device != "cpu" and torch.cuda.is_available()
        if device == "cuda" and not has_cuda:
            raise DeviceUnavailable(
                "--device cuda was asked for, but torch finds no usable GPU; "
                "use --device auto or cpu"
            )
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False  # fp32, as validated
        self.device = "cuda" if has_cuda else "cpu"
        found = "a GPU was found" if has_cuda else "torch finds no usable GPU"
        log_device("torch", self.device, found if device == "auto" else "asked for")
        classifier = ImageClassifier.from_bundle(bundle, allowed=allowed).to(
            self.device
        )
        self._classifier = classifier.to(memory_format=torch.channels_last)

        self._is_bf16 = precision == "bf16" and not has_cuda
        self.precision: PrecisionKind = "bf16" if self._is_bf16 else "fp32"

    @torch.inference_mode()
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        # torch warns of an array that it could not write to.
        own = images if images.flags.writeable else images.copy()
        inputs = torch.from_numpy(own).to(self.device)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._is_bf16):
            logits = self._classifier(inputs)
        answer: NDArray[np.float32] = logits.float().cpu().numpy()
        return answer

    def batch_sizes(self, largest: int) -> list[int]:
        return sorted({1, largest})

"""A version by torch, on CPU or CUDA."""

import numpy as np
import torch
from numpy.typing import NDArray

from classifier.bundle import Bundle
from classifier.network import ImageClassifier
from serving.backend import DeviceUnavailable
from serving.config import BackendKind, DeviceKind


class TorchBackend:
    """The network itself, fp32, in evaluation mode."""

    name: BackendKind = "torch"

    def __init__(self, bundle: Bundle, *, device: DeviceKind, threads: int) -> None:
        has_cuda = device != "cpu" and torch.cuda.is_available()
        if device == "cuda" and not has_cuda:
            raise DeviceUnavailable(
                "--device cuda was asked for, but torch finds no usable GPU; "
                "use --device auto or cpu"
            )
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False  # fp32, as it was measured
        self.device = "cuda" if has_cuda else "cpu"
        classifier = ImageClassifier.from_bundle(bundle).to(self.device)
        self._classifier = classifier.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        answer: NDArray[np.float32] = (
            self._classifier(torch.from_numpy(images).to(self.device)).cpu().numpy()
        )
        return answer

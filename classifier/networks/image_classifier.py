"""A network and its normalisation as one module, from pixels to logits."""

from collections.abc import Collection

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from classifier.bundle.files import BrokenBundle, Bundle
from classifier.bundle.preprocessing import Preprocessing
from classifier.networks.build import build_network, load_tensors


class ImageClassifier(nn.Module):
    """A network and its normalisation: uint8 images [N, H, W, 3] -> logits [N, K]."""

    channel_means: Tensor
    channel_stds: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        # The ONNX exporter itself uses the names `mean` and `std`.
        for name, fractions in (
            ("channel_means", preprocessing.mean),
            ("channel_stds", preprocessing.std),
        ):
            of_255 = torch.tensor(fractions, dtype=torch.float32).mul(255)
            self.register_buffer(name, of_255.view(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_bundle(
        cls, bundle: Bundle, *, allowed: Collection[str] = ()
    ) -> "ImageClassifier":
        """The version's network with its weights, on CPU, in evaluation mode.

        `allowed` are the functions of the user's that may build it. Raises BrokenBundle
        if the weights do not fit the network, QuantisedBundle for an int8 form, and as
        `build_network` does.
        """
        weights, size = bundle.weights, bundle.preprocessing.height
        network = build_network(bundle.network, size=size, allowed=allowed)
        try:
            arrays = load_file(weights)
            load_tensors(network, {n: torch.from_numpy(a) for n, a in arrays.items()})
        # Number types that numpy or torch lacks, or other names or shapes.
        except (
            ValueError,
            RuntimeError,
            KeyError,
            TypeError,
            AttributeError,
            SafetensorError,
        ) as error:
            raise BrokenBundle(f"{weights.name} does not fit: {error}") from error
        return cls(network, bundle.preprocessing).eval()

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] -> float32 [N, 3, H, W], in channels_last memory order."""
        inputs = images.permute(0, 3, 1, 2).to(torch.float32)
        return (inputs - self.channel_means) / self.channel_stds

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.normalise(images))
        return logits

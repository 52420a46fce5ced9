"""Networks by name, and a network with its normalisation as a classifier."""

from collections.abc import Callable, Mapping

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from classifier.bundle.files import STEM_NAMES, BrokenBundle, Bundle
from classifier.bundle.preprocessing import Preprocessing


def _resnet18(classes: int, stem: str) -> nn.Module:
    """torchvision's ResNet-18; both stems have its state-dict names."""
    network: nn.Module = torchvision.models.resnet18(weights=None, num_classes=classes)
    if stem == "small":
        # 3x3, stride 1, no pooling: the ImageNet stem leaves a 2x2 map of 64 px.
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out")
        network.maxpool = nn.Identity()
    return network


def _tiny(classes: int, stem: str) -> nn.Module:
    """A network to try a set-up in seconds: 20,000 parameters, no batch norm."""
    stride = 1 if stem == "small" else 2
    return nn.Sequential(
        nn.Conv2d(3, 16, kernel_size=3, stride=stride, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 48, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, classes),
    )


ARCHITECTURES: Mapping[str, Callable[[int, str], nn.Module]] = {
    "resnet18": _resnet18,
    "tiny": _tiny,
}
STEMS = STEM_NAMES


def build_network(architecture: str, *, classes: int, stem: str) -> nn.Module:
    """A freshly initialised network: normalised float [N, 3, H, W] -> logits [N, K].

    Raises ValueError for a name that is not in ARCHITECTURES or STEMS.
    """
    if architecture not in ARCHITECTURES or stem not in STEMS:
        raise ValueError(
            f"no network {architecture!r} with stem {stem!r}; there are "
            f"{', '.join(ARCHITECTURES)} with {', '.join(STEMS)}"
        )
    return ARCHITECTURES[architecture](classes, stem)


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
    def from_bundle(cls, bundle: Bundle) -> "ImageClassifier":
        """The version's network with its weights, on CPU, in evaluation mode.

        Raises BrokenBundle if the weights do not fit the network, QuantisedBundle for
        an int8 form.
        """
        spec, weights = bundle.network, bundle.weights
        try:
            network = build_network(
                spec.architecture, classes=spec.classes, stem=spec.stem
            )
            network.load_state_dict(
                {
                    name: torch.from_numpy(array)
                    for name, array in load_file(weights).items()
                }
            )
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

"""Inputs of a network's head, computed once by the layers before it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classifier.console.progress import progress_bar
from classifier.networks.image_classifier import ImageClassifier
from classifier.networks.weights import head_layers
from training.data.decoded_images import DecodedPart, sample

BATCH_SIZE = 16


@dataclass(frozen=True)
class TrainingInputs:
    """Inputs of the epochs of a run: images, or features of them."""

    train: DecodedPart
    train_sample: DecodedPart
    val: DecodedPart
    head: str | None = None
    """The layer that takes the features; None for images, which the network takes."""


def head_inputs(
    classifier: ImageClassifier, images: TrainingInputs
) -> TrainingInputs | None:
    """Features of all images, or None if the network has no plain head."""
    head = plain_head(classifier, images.train.images[:2])
    if head is None:
        return None
    train = as_features(images.train, classifier, head, name="training images")
    return TrainingInputs(
        train=train,
        train_sample=sample(train, len(images.train_sample)),
        val=as_features(images.val, classifier, head, name="validation images"),
        head=head,
    )


def plain_head(classifier: ImageClassifier, images: NDArray[np.uint8]) -> str | None:
    """Name of the layer that maps features [N, F] to the logits; None if none does.

    SqueezeNet's last layer is a convolution before a mean, and GoogLeNet has three
    heads: they are trained on images. `images` [N, H, W, 3] are a few to try it on.
    """
    heads = head_layers(classifier.network)
    if len(heads) != 1:
        return None
    head = classifier.network.get_submodule(heads[0])
    if not isinstance(head, nn.Linear):
        return None
    with torch.inference_mode(), _inputs_of(head) as inputs:
        logits = classifier.eval()(_tensor(images, classifier))
        is_plain = inputs[0].ndim == 2 and torch.equal(head(inputs[0]), logits)
    return heads[0] if is_plain else None


def as_features(
    part: DecodedPart, classifier: ImageClassifier, head: str, *, name: str
) -> DecodedPart:
    """The part with features, float32 [N, F], in the place of its images."""
    layer = classifier.network.get_submodule(head)
    classifier.eval()
    rows = []
    with (
        torch.inference_mode(),
        _inputs_of(layer) as inputs,
        progress_bar(f"features of {name}", total=len(part)) as advance,
    ):
        for start in range(0, len(part), BATCH_SIZE):
            images = part.images[start : start + BATCH_SIZE]
            classifier(_tensor(images, classifier))
            rows.append(inputs.pop().float().cpu().numpy())
            advance(len(images))
    features = np.concatenate(rows)
    # Batches and the trainer take either: they index rows and make tensors of them.
    return replace(part, images=cast("NDArray[np.uint8]", features))


@contextmanager
def _inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """A list to which each input of the layer is added."""
    inputs: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs.append(given[0])

    handle = layer.register_forward_pre_hook(keep)
    try:
        yield inputs
    finally:
        handle.remove()


def _tensor(images: NDArray[np.uint8], classifier: ImageClassifier) -> Tensor:
    device = next(classifier.parameters()).device
    # A copy: torch wants memory it could write to.
    return torch.from_numpy(np.array(images)).to(device)

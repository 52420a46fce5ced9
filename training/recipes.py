"""Recipes: the choices that make a training run, by name.

It imports no torch, so that flags are checked before torch's slow import.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

FULL_BATCH = 256
"""Images in a batch, if there are enough; the recipes' rates are for this number."""

LEAST_STEPS = 20
"""The fewest steps of an epoch that a recipe can work with."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The choices that make a run; its rates are for batches of 256."""

    lr: float
    """The highest learning rate."""

    schedule: Literal["constant", "cosine"]
    warm_up: float = 0.0
    """Share of the steps over which the rate rises from a 25th of `lr`, 0..1."""

    momentum: float
    nesterov: bool
    weight_decay: float
    decay_norms_and_biases: bool
    label_smoothing: float
    crop_padding: int
    """Most pixels that an image is shifted by, each way; 0 shifts none."""

    mirror: bool
    least_area: float = 1.0
    """Least share of an image in a random window; 1 takes the whole image."""

    randaugment: int = 0
    """Magnitude of RandAugment's two operations on an image, 0..30; 0 does none."""

    cutmix: float = 0.0
    """Probability that an image gets a box of another image."""

    mixup: float = 0.0
    """Probability that an image is blended with another; not with cutmix."""

    body_rate: float = 1.0
    """Learning rate of all layers but the head, as a share of the head's."""

    average_epochs: float = 0.0
    """Time constant of the published average of the weights (an exponential one); 0
    publishes the weights themselves."""

    average_every: int = 4
    """Steps between two updates of the average; fewer in short epochs."""


def for_features(recipe: Recipe) -> Recipe:
    """The recipe for features of images, which cannot be augmented."""
    return replace(
        recipe,
        crop_padding=0,
        mirror=False,
        least_area=1.0,
        randaugment=0,
        cutmix=0.0,
        mixup=0.0,
    )


RECIPES: Mapping[str, Recipe] = {
    # The seed report's run, for comparisons with it.
    "plain": Recipe(
        lr=0.1,
        schedule="constant",
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
        decay_norms_and_biases=True,
        label_smoothing=0.0,
        crop_padding=0,
        mirror=False,
    ),
    # Found by experiment: docs/decisions.md, "The recipe strong".
    "strong": Recipe(
        lr=0.2,
        schedule="cosine",
        warm_up=0.25,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        decay_norms_and_biases=False,
        label_smoothing=0.1,
        crop_padding=4,
        mirror=True,
        average_epochs=1.0,
    ),
    # From weights that know images already: docs/decisions.md, "The recipe finetune".
    "finetune": Recipe(
        lr=0.1,
        schedule="cosine",
        warm_up=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-5,
        decay_norms_and_biases=False,
        label_smoothing=0.1,
        crop_padding=0,
        mirror=True,
        least_area=0.5,
        body_rate=0.1,
        average_epochs=1.0,
    ),
}

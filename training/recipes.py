"""How a network is optimised, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The choices that make a run; the values are for batches of 256."""

    lr: float
    schedule: Literal["constant", "one-cycle"]
    momentum: float
    nesterov: bool
    weight_decay: float
    decay_norms_and_biases: bool
    label_smoothing: float
    crop_padding: int
    """Pixels an image may be shifted by, each way; 0 leaves it where it is."""

    mirror: bool


RECIPES: Mapping[str, Recipe] = {
    # The seed report's run, to the letter: comparing with it is what it is for.
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
    "strong": Recipe(
        lr=0.2,
        schedule="one-cycle",
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        decay_norms_and_biases=False,
        label_smoothing=0.1,
        crop_padding=4,
        mirror=True,
    ),
}


def make_optimizer(network: nn.Module, recipe: Recipe) -> SGD:
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter in network.parameters():
        # Norm scales and all biases are vectors; the weights of layers are not.
        is_decayed = recipe.decay_norms_and_biases or parameter.ndim > 1
        (decayed if is_decayed else spared).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return SGD(
        [group for group in groups if group["params"]],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, *, steps: int
) -> LRScheduler | None:
    """Stepped after each of `steps` optimiser steps; None leaves the rate constant."""
    # OneCycleLR divides by the length of its phases: it needs a few steps to exist.
    if recipe.schedule == "constant" or steps < 4:
        return None
    # One step more: it is also stepped after the last, and would complain.
    return OneCycleLR(
        optimizer,
        max_lr=recipe.lr,
        total_steps=steps + 1,
        pct_start=0.25,
        cycle_momentum=False,
    )

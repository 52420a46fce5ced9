"""Learning rate, batch size and averaging of weights, step by step."""

import math

import numpy as np
from numpy.typing import NDArray

from training.recipes import FULL_BATCH, LEAST_STEPS, Recipe

HEAD_RATE = 30.0
"""Times the mean square length of the inputs; 20 to 40 are best."""


def auto_batch_size(images: int, *, processes: int = 1, most: int = FULL_BATCH) -> int:
    """FULL_BATCH, or less where an epoch would have under LEAST_STEPS steps.

    Not above `most`, nor below two images for each of the `processes`, which batch norm
    needs.
    """
    size = min(FULL_BATCH, images // LEAST_STEPS)
    # A last batch of one image joins the one before: batches.py.
    if math.ceil((images - 1) / FULL_BATCH) >= LEAST_STEPS:
        size = FULL_BATCH
    return max(2 * processes, min(size, most))


def scaled_rate(recipe: Recipe, *, batch_size: int) -> float:
    """The recipe's highest learning rate, scaled in proportion to the batch size.

    Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1.
    """
    return recipe.lr * batch_size / FULL_BATCH


def head_rate(features: NDArray[np.float32], *, batch_size: int) -> float:
    """The highest learning rate of a linear layer alone, from its inputs [N, F].

    The curvature of its loss grows with their mean square length, so the rate falls
    with it: docs/decisions.md, "A head alone". The bias has one more input, 1.
    """
    mean_square = 1 + float(np.square(features, dtype=np.float64).sum(1).mean())
    return HEAD_RATE / mean_square * batch_size / FULL_BATCH


def average_interval(recipe: Recipe, *, steps_an_epoch: int) -> int:
    """Steps between two updates of the average: an epoch has four at least.

    The published average lacks a quarter of its steps at most, and is never
    the average from before it; epochs of under four steps update at each.
    """
    return max(1, min(recipe.average_every, steps_an_epoch // 4))


def average_decay(recipe: Recipe, *, steps_an_epoch: int) -> float:
    """Decay of one update of the average, 0..1."""
    every = average_interval(recipe, steps_an_epoch=steps_an_epoch)
    updates = recipe.average_epochs * steps_an_epoch / every
    return max(0.0, 1 - 1 / updates)


def learning_rate(recipe: Recipe, *, step: int, steps: int) -> float:
    """Rate at step 0..steps-1: linear warm-up, then a half cosine down to nearly 0.

    It depends on the step alone, so resuming needs no state of it.
    """
    if recipe.schedule == "constant":
        return recipe.lr
    rising = recipe.warm_up * steps
    if step < rising:
        return recipe.lr * (1 / 25 + (1 - 1 / 25) * step / rising)
    falling = (step - rising) / (steps - rising)
    return recipe.lr * (1 + math.cos(math.pi * falling)) / 2

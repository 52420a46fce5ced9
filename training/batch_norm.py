"""Batch norm's statistics where too few steps were taken to settle them."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import update_bn

from classifier.network import ImageClassifier
from training.evaluate import BATCH_SIZE
from training.recipes import FULL_BATCH, LEAST_STEPS, auto_batch_size

MOST_IMAGES = 2048
"""Images that statistics are of: the standard error is 2 % of a channel's spread."""


def is_unsettled(*, images: int, steps: int) -> bool:
    """Whether an epoch over so many `images` in so many `steps` leaves them unsettled.

    Momentum 0.1 keeps 0.9^20 = 12 % of the start after 20 steps, and follows the last
    ten batches, which are small where images are few.
    """
    return auto_batch_size(images) < FULL_BATCH or steps < LEAST_STEPS


def take_statistics(classifier: ImageClassifier, images: NDArray[np.uint8]) -> None:
    """Replaces the network's statistics by those of `images` [N, H, W, 3].

    "Precise BN" (Wu and Johnson 2021, section 3.1), on images as they are. The same
    weights and images give the same statistics. A network without batch norm is left
    as it is.
    """
    images = images[:: math.ceil(len(images) / MOST_IMAGES)]
    # Every n-th image: they lie in the order of classes, and a batch needs all of them.
    count = math.ceil(len(images) / BATCH_SIZE)
    device = next(classifier.parameters()).device
    with torch.no_grad():
        update_bn(
            (
                classifier.normalise(
                    torch.from_numpy(np.array(images[place::count])).to(device)
                )
                for place in range(count)
            ),
            classifier.network,
        )

"""An exponential moving average of a network's weights."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from classifier.networks.image_classifier import ImageClassifier
from training.evaluation.evaluate import BATCH_SIZE
from training.optimization.schedule import auto_batch_size
from training.recipes import FULL_BATCH, LEAST_STEPS


class WeightAverage:
    """Weights and batch norm's statistics, averaged over the steps of a run.

    Each update moves the average towards the network by 1 - decay. The decay of update
    n is at most (1 + n) / (10 + n), so that the random start is forgotten: as in
    TensorFlow's ExponentialMovingAverage. Counters are copied.
    """

    def __init__(self, network: nn.Module, *, decay: float, every: int = 1) -> None:
        """Starts at the network; `decay` is that of one update, not of one step."""
        self._decay = decay
        self._every = every
        self._steps = 0
        self.state = {
            name: tensor.detach().clone()
            for name, tensor in network.state_dict().items()
        }
        """The average, under the names of the network's state; updates change it."""

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Call after each step; every `every`-th call updates the average."""
        self._steps += 1
        if self._steps % self._every:
            return
        updates = self._steps // self._every - 1
        decay = min(self._decay, (1 + updates) / (10 + updates))
        averages, currents = [], []
        for name, current in network.state_dict().items():
            if current.is_floating_point():
                averages.append(self.state[name])
                currents.append(current)
            else:
                self.state[name].copy_(current)
        # One call, and few kernels on a GPU; torch's own AveragedModel uses it too.
        torch._foreach_lerp_(averages, currents, 1 - decay)

    @torch.no_grad()
    def take_buffers(self, network: nn.Module) -> None:
        """Copies batch norm's statistics and counters from `network`."""
        for name, buffer in network.named_buffers():
            self.state[name].copy_(buffer)

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor], *, steps: int) -> None:
        """Copies a saved `state` of the same network and its `steps`."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
        self._steps = steps


MOST_IMAGES = 2048
"""Most images for statistics: their standard error is 2 % of a channel's spread."""


def is_unsettled(*, images: int, steps: int) -> bool:
    """Whether an epoch of so few `images` or `steps` leaves statistics unsettled.

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

"""Predictions of a network in fp32, and their loss and accuracies."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classifier.metrics import IntArray, rank_of_target, softmax, top_k

if TYPE_CHECKING:  # torch takes 4 s to import, and an imported graph needs none of it
    from torch import nn

    from training.compute import World

BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Loss is the mean cross-entropy in nats; accuracies are fractions 0..1."""

    loss: float
    top1_accuracy: float
    top5_accuracy: float


@dataclass(frozen=True)
class Predictions:
    """Logits for N images, and the measures that follow from them."""

    logits: NDArray[np.float32]
    """[N, K]."""

    targets: IntArray

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        return softmax(self.logits)

    @cached_property
    def top_five(self) -> IntArray:
        """[N, min(5, K)]; of equals the smaller index first, as everywhere."""
        return top_k(self.probabilities, 5)

    @property
    def first_answers(self) -> IntArray:
        """[N]."""
        return self.top_five[:, 0]

    @property
    def target_probabilities(self) -> NDArray[np.float32]:
        """Probability of each true class, [N]."""
        return self._of_target.astype(np.float32)

    @property
    def metrics(self) -> Metrics:
        """With under 5 classes, top 5 is all of them."""
        ranks = rank_of_target(self.top_five, self.targets)
        # A probability of 0 (underflow at e^-745) would give an infinite loss.
        losses = -np.log(np.maximum(self._of_target, np.finfo(np.float64).tiny))
        return Metrics(
            loss=float(losses.mean()),
            top1_accuracy=float((ranks == 1).mean()),
            top5_accuracy=float((ranks > 0).mean()),
        )

    @property
    def _of_target(self) -> NDArray[np.float64]:
        return self.probabilities[np.arange(len(self.targets)), self.targets]


def measure(logits: NDArray[np.float32], targets: IntArray) -> Metrics:
    """Over the whole of `logits` [N, K]."""
    return Predictions(logits, targets).metrics


def evaluate(
    classifier: "nn.Module",
    images: NDArray[np.uint8],
    targets: IntArray,
    *,
    world: "World | None" = None,
) -> Predictions:
    """Each process of `world` predicts its part; all processes get the whole."""
    if world is None or world.size == 1:
        batches = list(logits_by_batch(classifier, images))
        return Predictions(np.concatenate(batches), targets)
    import torch

    start, end = world.share(0, len(images))
    # A process without images predicts others, to know the number of classes.
    mine = images[start:end] if end > start else images[:2]
    part = torch.from_numpy(np.concatenate(list(logits_by_batch(classifier, mine))))
    logits = torch.zeros(
        len(images), part.shape[1], device=next(classifier.parameters()).device
    )
    if end > start:
        logits[start:end] = part
    return Predictions(world.sum_up(logits).cpu().numpy(), targets)


def logits_by_batch(
    classifier: "nn.Module", images: NDArray[np.uint8]
) -> Iterator[NDArray[np.float32]]:
    """float32 [n, K] for each BATCH_SIZE of `images` [N, H, W, 3]."""
    import torch

    device = next(classifier.parameters()).device
    was_training = classifier.training
    classifier.eval()
    try:
        for start in range(0, len(images), BATCH_SIZE):
            # A copy: torch wants memory it could write to.
            batch = torch.from_numpy(np.array(images[start : start + BATCH_SIZE]))
            with torch.inference_mode():
                logits = classifier(batch.to(device)).float().cpu().numpy()
            yield logits
    finally:
        classifier.train(was_training)

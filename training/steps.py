"""The optimiser's steps: one pass over the training images after the other."""

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from classifier.network import ImageClassifier
from classifier.ranking import IntArray
from training.augment import random_crop, random_mirror
from training.device import Compute
from training.evaluate import Metrics
from training.history import RunningPoint, TrainingPass
from training.image_cache import DecodedPart
from training.progress import progress_bar
from training.recipes import Recipe, make_optimizer, make_schedule

STEPS_BETWEEN_POINTS = 10
"""Steps between two points of running/*; reading one waits for the device."""


class TrainingDiverged(RuntimeError):
    """The loss is no longer a number."""


class Trainer:
    """The state that moves from step to step: weights, momentum, rate, randomness."""

    def __init__(
        self,
        classifier: ImageClassifier,
        part: DecodedPart,
        recipe: Recipe,
        *,
        compute: Compute,
        batch_size: int,
        epochs: int,
        seed: int,
    ) -> None:
        self._classifier = classifier
        self._part = part
        self._recipe = recipe
        self._compute = compute
        self._batch_size = batch_size
        self._seed = seed
        self._step = 0
        self._optimizer = make_optimizer(classifier.network, recipe)
        steps = epochs * len(batch_bounds(len(part), batch_size))
        self._schedule = make_schedule(self._optimizer, recipe, steps=steps)

    def run_epoch(self, epoch: int) -> TrainingPass:
        """One pass over the images in an order that depends on seed and epoch alone.

        TrainingDiverged at the first measured point whose loss is not finite.
        """
        generator = Generator().manual_seed(self._seed * 1_000_003 + epoch)
        order = torch.randperm(len(self._part), generator=generator).numpy()
        sums = torch.zeros(3, dtype=torch.float64, device=self._compute.device)
        points: list[RunningPoint] = []
        seen = 0
        self._classifier.train()
        started = time.perf_counter()
        with progress_bar(f"epoch {epoch}", total=len(self._part)) as advance:
            bounds = batch_bounds(len(self._part), self._batch_size)
            for index, (start, end) in enumerate(bounds, start=1):
                images, targets = self._batch(order[start:end], generator)
                sums += self._optimise(images, targets)
                self._step += 1
                seen += end - start
                if index % STEPS_BETWEEN_POINTS == 0 or index == len(bounds):
                    points.append(self._point(sums, seen, epoch))
                advance(
                    end - start, f"loss {points[-1].metrics.loss:.3f}" if points else ""
                )
        seconds = time.perf_counter() - started
        return TrainingPass(
            points=tuple(points),
            lr=self._optimizer.param_groups[0]["lr"],
            images_per_second=len(self._part) / seconds,
        )

    def _batch(
        self, positions: IntArray, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(self._part.images[positions])
        targets = torch.from_numpy(self._part.targets[positions])
        device = self._compute.device
        images, targets = images.to(device), targets.to(device)
        if self._recipe.crop_padding:
            images = random_crop(
                images, padding=self._recipe.crop_padding, generator=generator
            )
        if self._recipe.mirror:
            images = random_mirror(images, generator=generator)
        return images, targets

    def _optimise(self, images: Tensor, targets: Tensor) -> Tensor:
        """One step; the batch's sums of loss, first answers right and top five right.

        They stay on the device: fetching them would wait for every step to end.
        """
        with self._compute.autocast():
            logits = self._classifier(images)
        logits = logits.float()
        loss = cross_entropy(
            logits, targets, label_smoothing=self._recipe.label_smoothing
        )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimizer.step()
        if self._schedule is not None:
            self._schedule.step()
        with torch.no_grad():
            hits = logits.topk(min(5, logits.shape[1])).indices == targets[:, None]
            return torch.stack(
                (loss.detach() * len(targets), hits[:, 0].sum(), hits.sum())
            )

    def _point(self, sums: Tensor, seen: int, epoch: int) -> RunningPoint:
        loss, top1, top5 = (sums / seen).tolist()
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the training loss became {loss} in epoch {epoch} (step "
                f"{self._step}); versions published so far are whole. Try again with a "
                f"lower --lr, here {self._optimizer.param_groups[0]['lr']:.3g}"
            )
        metrics = Metrics(loss=loss, top1_accuracy=top1, top5_accuracy=top5)
        return RunningPoint(self._step, seen / len(self._part), metrics)


def check_finite(logits: NDArray[np.float32], *, epoch: int) -> None:
    """TrainingDiverged where the network answers with what is no number.

    The loss of an epoch's last step is measured before that step is taken.
    """
    if not np.isfinite(logits).all():
        raise TrainingDiverged(
            f"after epoch {epoch} the network's answers are not finite; versions "
            "published so far are whole. Try again with a lower --lr"
        )


def batch_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Start and end of each batch; the last, smaller one is kept.

    A last batch of a single image joins the one before: batch norm over a 1x1 map has
    nothing to average there, and torch refuses.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1 and batch_size > 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))

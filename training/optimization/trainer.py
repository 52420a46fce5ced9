"""The optimiser's steps: one pass over the training images after the other."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from classifier.console import NotNow, progress_bar
from classifier.networks import ImageClassifier
from training.compute import Compute, World
from training.data.augmentations import (
    cutmix,
    random_crop,
    random_mirror,
    random_resized_crop,
    resize,
)
from training.data.batches import Batch, Batches
from training.evaluation.epoch import RunningPoint, TrainingPass
from training.evaluation.evaluate import Metrics
from training.optimization.schedule import (
    average_decay,
    average_interval,
    learning_rate,
    size_at,
)
from training.optimization.small_map_conv import speed_up_small_maps
from training.optimization.weight_average import (
    WeightAverage,
    is_unsettled,
    take_statistics,
)
from training.recipes import Recipe


@dataclass(frozen=True)
class Question:
    """What the network is asked, and what it should answer."""

    inputs: Tensor
    targets: Tensor
    other_targets: Tensor | None
    """The second class of mixed images; None where they are whole."""

    share: Tensor | None
    """Of the first class in each image, 0..1."""


def question_of(
    batch: Batch,
    classifier: ImageClassifier,
    recipe: Recipe,
    *,
    size: int,
    generator: Generator,
) -> Question:
    """The batch as the recipe changes it, in `size` x `size` pixels."""
    images, within = batch.images, batch.within
    if recipe.crop_padding:
        images = random_crop(
            images, padding=recipe.crop_padding, generator=generator, within=within
        )
    if recipe.mirror:
        images = random_mirror(images, generator=generator, within=within)
    inputs = classifier.normalise(images)
    if recipe.least_area < 1:
        inputs = random_resized_crop(
            inputs,
            least_area=recipe.least_area,
            size=size,
            generator=generator,
            within=within,
        )
    else:
        inputs = resize(inputs, size)
    if not recipe.cutmix:
        return Question(inputs, batch.targets, None, None)
    mixed = cutmix(
        inputs,
        batch.targets,
        generator=generator,
        probability=recipe.cutmix,
        within=within,
    )
    return Question(mixed.inputs, mixed.targets, mixed.other_targets, mixed.share)


def losses_of(logits: Tensor, question: Question, *, label_smoothing: float) -> Tensor:
    """float32 [n], in nats."""

    def against(targets: Tensor) -> Tensor:
        return cross_entropy(
            logits, targets, label_smoothing=label_smoothing, reduction="none"
        )

    if question.other_targets is None or question.share is None:
        return against(question.targets)
    rest = 1 - question.share
    return question.share * against(question.targets) + rest * against(
        question.other_targets
    )


STEPS_BETWEEN_POINTS = 10
"""Steps between two points of running/*; reading one waits for the device."""


class TrainingDiverged(NotNow, RuntimeError):
    """The loss is no longer a number."""


class Trainer:
    """The state that moves from step to step: weights, their average, momentum."""

    def __init__(
        self,
        classifier: ImageClassifier,
        batches: Batches,
        recipe: Recipe,
        *,
        compute: Compute,
        epochs: int,
        world: World | None = None,
        compiled: bool = False,
    ) -> None:
        self._classifier = classifier
        self._batches = batches
        self._recipe = recipe
        self._compute = compute
        self._epochs = epochs
        self._world = world or World()
        self._step = 0
        self._optimizer = make_optimizer(classifier.network, recipe)
        self._average = (
            WeightAverage(
                classifier.network,
                decay=average_decay(recipe, steps_an_epoch=len(batches)),
                every=average_interval(recipe, steps_an_epoch=len(batches)),
            )
            if recipe.average_epochs
            else None
        )
        self._published = copy.deepcopy(classifier) if self._average else classifier
        if compute.device.type == "cpu":
            speed_up_small_maps(classifier.network)
        self._network = _parallel(classifier, self._world)
        self._network_compiled = _compiled(self._network) if compiled else None
        self.first_step_at: float | None = None
        """time.time() when the first step of this process began."""

    def run_epoch(self, epoch: int) -> TrainingPass:
        """One pass over the images in an order that depends on seed and epoch alone.

        TrainingDiverged at the first measured point whose loss is not finite.
        """
        generator = self._batches.generator(epoch)
        sums = torch.zeros(3, dtype=torch.float64, device=self._compute.device)
        points: list[RunningPoint] = []
        seen, total = 0, self._batches.images
        self._classifier.train()
        started = time.perf_counter()
        with progress_bar(
            f"epoch {epoch}", total=total, shown=self._world.is_first
        ) as advance:
            batches = self._batches.of_epoch(generator)
            for index, batch in enumerate(batches, start=1):
                self.first_step_at = self.first_step_at or time.time()
                sums += self._optimise(batch, generator, epoch)
                seen += batch.within.total
                if index % STEPS_BETWEEN_POINTS == 0 or seen == total:
                    points.append(self._point(sums, seen, epoch))
                note = f"loss {points[-1].metrics.loss:.3f}" if points else ""
                advance(batch.within.total, note)
        seconds = time.perf_counter() - started
        return TrainingPass(
            points=tuple(points),
            lr=self._optimizer.param_groups[0]["lr"],
            images_per_second=total / seconds,
        )

    def published(self) -> ImageClassifier:
        """The classifier that an epoch's version is made of: the weights' average,
        where the recipe keeps one, the same in all processes."""
        published = self._published
        if self._average is not None:
            published.network.load_state_dict(self._average.state)
        steps, images = len(self._batches), self._batches.images
        if is_unsettled(images=images, steps=steps):
            take_statistics(published, self._batches.decoded)
        # Batch norm's statistics are of each process's own images.
        self._world.copy_from_first(published.network.state_dict().values())
        if self._average is not None:
            # `state` must have what was published: a run that resumes publishes it.
            self._average.take_buffers(published.network)
        return published

    def state(self) -> dict[str, Tensor]:
        """Copies of all that the next epoch depends on, on the CPU."""
        network = self._classifier.network
        state = {f"network/{k}": v for k, v in network.state_dict().items()}
        if self._average is not None:
            state |= {f"average/{k}": v for k, v in self._average.state.items()}
        for name, parameter in network.named_parameters():
            momentum = self._optimizer.state[parameter].get("momentum_buffer")
            state[f"momentum/{name}"] = (
                torch.zeros_like(parameter) if momentum is None else momentum
            )
        # Contiguous: the files of tensors know no channels_last.
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in state.items()
        }

    def restore(self, state: Mapping[str, Tensor], *, epochs_done: int) -> None:
        """Goes on from a `state` after so many epochs, in all processes alike."""
        self._step = epochs_done * len(self._batches)
        if epochs_done == 0:
            return
        network = self._classifier.network
        network.load_state_dict(_below("network/", state))
        if self._average is not None:
            self._average.restore(_below("average/", state), steps=self._step)
        for name, parameter in network.named_parameters():
            self._optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(
                parameter
            ).copy_(state[f"momentum/{name}"])

    def _optimise(self, batch: Batch, generator: Generator, epoch: int) -> Tensor:
        """One step; the batch's sums of loss, first answers right and top five right.

        They stay on the device: fetching them would wait for every step to end.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(
                self._recipe, step=self._step, steps=self._epochs * len(self._batches)
            )
        question = question_of(
            batch,
            self._classifier,
            self._recipe,
            size=self._size(batch, epoch),
            generator=generator,
        )
        is_full = len(batch.images) == self._batches.full_size
        network = self._network_compiled if is_full else None
        with self._compute.autocast():
            logits = (network or self._network)(question.inputs)
        logits = logits.float()
        losses = losses_of(
            logits, question, label_smoothing=self._recipe.label_smoothing
        )
        self._optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over processes, whose parts may differ by an image.
        loss = losses.sum() * self._world.size / batch.within.total
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self._classifier.network)
        self._step += 1
        with torch.no_grad():
            five = logits.topk(min(5, logits.shape[1])).indices
            hits = five == batch.targets[:, None]
            return torch.stack((losses.sum(), hits[:, 0].sum(), hits.sum()))

    def _size(self, batch: Batch, epoch: int) -> int:
        full_size = batch.images.shape[1]
        return size_at(
            self._recipe, epoch=epoch, epochs=self._epochs, full_size=full_size
        )

    def _point(self, sums: Tensor, seen: int, epoch: int) -> RunningPoint:
        loss, top1, top5 = (self._world.sum_up(sums.clone()) / seen).tolist()
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the training loss became {loss} in epoch {epoch}; versions published "
                f"so far are whole. Try again with a lower --lr, here "
                f"{self._optimizer.param_groups[0]['lr']:.3g}"
            )
        metrics = Metrics(loss=loss, top1_accuracy=top1, top5_accuracy=top5)
        now_ms = int(time.time() * 1000)
        return RunningPoint(
            self._step, seen / self._batches.images, metrics, time_ms=now_ms
        )


def check_finite(logits: NDArray[np.float32], *, epoch: int) -> None:
    """TrainingDiverged where the network answers with what is no number.

    The loss of an epoch's last step is measured before that step is taken.
    """
    if not np.isfinite(logits).all():
        raise TrainingDiverged(
            f"after epoch {epoch} the network's answers are not finite; versions "
            "published so far are whole. Try again with a lower --lr"
        )


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
        fused=True,
    )


def _parallel(classifier: ImageClassifier, world: World) -> Callable[[Tensor], Tensor]:
    """The network whose gradients are those of all processes together."""
    if world.size == 1:
        return classifier.network
    if next(classifier.parameters()).device.type == "cuda":
        convert = torch.nn.SyncBatchNorm.convert_sync_batchnorm
        classifier.network = convert(classifier.network)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(classifier.network)


def _compiled(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """For full batches alone: another size would be compiled anew.

    CUDA graphs, as a ResNet-18 step at 64 px is bound by launching its kernels.
    """
    compiled: Callable[[Tensor], Tensor] = torch.compile(
        network, dynamic=False, mode="reduce-overhead"
    )
    return compiled


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }

"""Training steps of an epoch: loss, optimiser, weight average, running metrics."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from classifier.console.exits import NotNow
from classifier.console.progress import progress_bar
from classifier.metrics import IntArray
from classifier.networks.build import auxiliary_weight, load_tensors, logits_of
from classifier.networks.image_classifier import ImageClassifier
from training.compute import Compute, World
from training.data.augmentations import Examples, Mixed, augment
from training.data.batches import Batch, Batches
from training.evaluation.epoch import RunningPoint, TrainingPass, now_ms
from training.evaluation.evaluate import Metrics
from training.optimization.layers import is_frozen, make_optimizer, set_training_mode
from training.optimization.schedule import (
    average_decay,
    average_interval,
    learning_rate,
)
from training.optimization.small_map_conv import speed_up_small_maps
from training.optimization.weight_average import (
    WeightAverage,
    is_unsettled,
    take_statistics,
)
from training.recipes import Recipe

STEPS_BETWEEN_POINTS = 10
"""Steps between two points of `running/*`. Reading a point waits for the device."""


class TrainingDiverged(NotNow, RuntimeError):
    """The loss or a logit is not finite."""


class Trainer:
    """Holds what a step changes: weights, their average, momentum, the step number."""

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
        head: str | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        """With a `head`, the batches have inputs of that layer instead of images.

        `class_weights` are those of the loss, [K].
        """
        self._class_weights = class_weights
        self._classifier = classifier
        self._batches = batches
        self._recipe = recipe
        self._compute = compute
        self._epochs = epochs
        self._world = world or World()
        if compute.device.type == "cpu":
            speed_up_small_maps(classifier.network)
        self._step = 0
        self._rate = recipe.lr
        self._auxiliary_weight = auxiliary_weight(classifier.network)
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
        # Batch norm of a part that does not learn keeps its statistics.
        self._is_unsettled = not is_frozen(classifier.network) and is_unsettled(
            images=batches.images, steps=len(batches)
        )
        self._decoded = batches.decoded
        self._network = _parallel(classifier, self._world, head=head)
        self._normalise: Callable[[Tensor], Tensor] = (
            classifier.normalise if head is None else torch.Tensor.float
        )
        self._network_compiled = _compiled(self._network) if compiled else None
        self.first_step_at: float | None = None
        """time.time() when the first step of this process began."""

    def run_epoch(self, epoch: int) -> TrainingPass:
        """Trains on all images once, in an order fixed by seed and epoch.

        Raises TrainingDiverged at the first running point whose loss is not finite.
        """
        generator = self._batches.generator(epoch)
        # For drop-out: an epoch draws the same after a resume.
        torch.manual_seed(generator.initial_seed() + self._world.rank)
        sums = torch.zeros(3, dtype=torch.float64, device=self._compute.device)
        points: list[RunningPoint] = []
        seen, total = 0, self._batches.images
        set_training_mode(self._classifier.network)
        started = time.perf_counter()
        with progress_bar(
            f"epoch {epoch}", total=total, shown=self._world.is_first
        ) as advance:
            batches = self._batches.of_epoch(generator)
            for index, batch in enumerate(batches, start=1):
                self.first_step_at = self.first_step_at or time.time()
                sums += self._optimise(batch, generator)
                seen += batch.within.total
                if index % STEPS_BETWEEN_POINTS == 0 or seen == total:
                    points.append(self._point(sums, seen, epoch))
                note = f"loss {points[-1].metrics.loss:.3f}" if points else ""
                advance(batch.within.total, note)
        seconds = time.perf_counter() - started
        return TrainingPass(
            points=tuple(points),
            lr=self._rate,
            images_per_second=total / seconds,
        )

    def first_batch(self) -> tuple[NDArray[np.uint8], IntArray]:
        """The first epoch's first images as its step sees them, and their classes.

        uint8 [n, H, W, 3] and [n]; nothing that training depends on changes.
        """
        generator = self._batches.generator(1)
        with closing(self._batches.of_epoch(generator)) as batches:
            batch = next(batches)
        examples = self._augmented(batch, generator)
        classifier = self._classifier
        inputs = examples.inputs * classifier.channel_stds + classifier.channel_means
        images = inputs.permute(0, 2, 3, 1).round().clamp(0, 255)
        return images.byte().cpu().numpy(), batch.targets.cpu().numpy()

    def published(self) -> ImageClassifier:
        """The classifier to publish after an epoch, the same in all processes.

        It has the average of the weights if the recipe keeps one.
        """
        published = self._published
        if self._average is not None:
            load_tensors(published.network, self._average.state)
        if self._is_unsettled:
            take_statistics(published, self._decoded)
        # Each process has batch norm statistics of its own images.
        self._world.copy_from_first(published.network.state_dict().values())
        if self._average is not None:
            # A resumed run publishes `state` again, so both must be the same.
            self._average.take_buffers(published.network)
        return published

    def state(self) -> dict[str, Tensor]:
        """Copies on the CPU of all tensors that the next epoch depends on."""
        network = self._classifier.network
        state = {f"network/{k}": v for k, v in network.state_dict().items()}
        if self._average is not None:
            state |= {f"average/{k}": v for k, v in self._average.state.items()}
        for name, parameter in self._learning():
            momentum = self._optimizer.state[parameter].get("momentum_buffer")
            state[f"momentum/{name}"] = (
                torch.zeros_like(parameter) if momentum is None else momentum
            )
        # Contiguous: safetensors files have no channels_last.
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in state.items()
        }

    def restore(self, state: Mapping[str, Tensor], *, epochs_done: int) -> None:
        """Loads a `state` saved after `epochs_done` epochs; called in all processes."""
        self._step = epochs_done * len(self._batches)
        if epochs_done == 0:
            return
        network = self._classifier.network
        load_tensors(network, below("network/", state))
        if self._average is not None:
            self._average.restore(below("average/", state), steps=self._step)
        for name, parameter in self._learning():
            self._optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(
                parameter
            ).copy_(state[f"momentum/{name}"])

    def _learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in self._classifier.network.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    def _optimise(self, batch: Batch, generator: Generator) -> Tensor:
        """One step. Returns the batch's sums of loss, top-1 and top-5 hits, [3].

        They stay on the device: reading them would wait for the step to end.
        """
        self._rate = learning_rate(
            self._recipe, step=self._step, steps=self._epochs * len(self._batches)
        )
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * self._rate
        examples = self._augmented(batch, generator)
        is_full = len(batch.images) == self._batches.full_size
        network = self._network_compiled if is_full else None
        with self._compute.autocast():
            outputs = (network or self._network)(examples.inputs)
        logits, *auxiliary = logits_of(outputs)
        losses = self._losses(logits, examples)
        self._optimizer.zero_grad(set_to_none=True)
        # DDP averages gradients over processes, whose parts may differ by an image.
        scale = self._world.size / batch.within.total
        loss = losses.sum() * scale
        for other in auxiliary:
            extra = self._losses(other, examples).sum()
            loss = loss + self._auxiliary_weight * extra * scale
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self._classifier.network)
        self._step += 1
        with torch.no_grad():
            five = logits.topk(min(5, logits.shape[1])).indices
            hits = five == batch.targets[:, None]
            return torch.stack((losses.sum(), hits[:, 0].sum(), hits.sum()))

    def _augmented(self, batch: Batch, generator: Generator) -> Examples:
        return augment(
            batch.images,
            batch.targets,
            self._recipe,
            normalise=self._normalise,
            generator=generator,
            within=batch.within,
        )

    def _losses(self, logits: Tensor, examples: Examples) -> Tensor:
        return losses_of(
            logits,
            examples,
            label_smoothing=self._recipe.label_smoothing,
            class_weights=self._class_weights,
        )

    def _point(self, sums: Tensor, seen: int, epoch: int) -> RunningPoint:
        loss, top1, top5 = (self._world.sum_up(sums.clone()) / seen).tolist()
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the training loss became {loss} in epoch {epoch}; versions published "
                f"so far are whole. Try again with a lower --lr, here "
                f"{self._rate:.3g}"
            )
        metrics = Metrics(loss=loss, top1_accuracy=top1, top5_accuracy=top5)
        share = seen / self._batches.images
        return RunningPoint(self._step, share, metrics, time_ms=now_ms())


def losses_of(
    logits: Tensor,
    examples: Examples,
    *,
    label_smoothing: float,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy per image in nats, float32 [n], times the weight of its class."""

    def against(targets: Tensor) -> Tensor:
        losses = cross_entropy(
            logits, targets, label_smoothing=label_smoothing, reduction="none"
        )
        return losses if class_weights is None else losses * class_weights[targets]

    first = against(examples.targets)
    if not isinstance(examples, Mixed):
        return first
    other = against(examples.other_targets)
    return examples.share * first + (1 - examples.share) * other


def check_finite(logits: NDArray[np.float32], *, epoch: int) -> None:
    """Raises TrainingDiverged if a logit is not finite.

    The running loss does not show it: it is measured before the epoch's last step.
    """
    if not np.isfinite(logits).all():
        raise TrainingDiverged(
            f"after epoch {epoch} the network's answers are not finite; versions "
            "published so far are whole. Try again with a lower --lr"
        )


def _parallel(
    classifier: ImageClassifier, world: World, *, head: str | None
) -> Callable[[Tensor], Tensor]:
    """The network or its head, with gradients averaged over all processes."""
    if head is not None:
        layer = classifier.network.get_submodule(head)
        return layer if world.size == 1 else DistributedDataParallel(layer)
    if world.size == 1:
        return classifier.network
    if next(classifier.parameters()).device.type == "cuda":
        convert = torch.nn.SyncBatchNorm.convert_sync_batchnorm
        classifier.network = convert(classifier.network)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(classifier.network)


def _compiled(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """For full batches alone, as every other size would be compiled again.

    With CUDA graphs: kernel launches limit a ResNet-18 step at 64 px.
    """
    compiled: Callable[[Tensor], Tensor] = torch.compile(
        network, dynamic=False, mode="reduce-overhead"
    )
    return compiled


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, under the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }

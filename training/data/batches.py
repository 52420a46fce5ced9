"""The batches of an epoch, prefetched to the device."""

from collections.abc import Generator as PythonGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from training.compute import World
from training.data.augmentations import BatchSlice
from training.data.decoded_images import DecodedPart

GPU_SHARE = 0.5
"""Share of a GPU's free memory for images; Tiny ImageNet's take 1.2 GB."""


@dataclass(frozen=True)
class Batch:
    """This process's part of a batch of the run."""

    images: Tensor
    """uint8 [n, H, W, 3]."""

    targets: Tensor
    """int64 [n]."""

    within: BatchSlice
    """The place of these images in the run's batch."""


class Batches:
    """The training images in batches, in an order fixed by seed and epoch."""

    def __init__(
        self,
        part: DecodedPart,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        world: World,
        is_balanced: bool = False,
    ) -> None:
        """`is_balanced`: an epoch has equally many images of every class."""
        self._order = balanced_order if is_balanced else shuffled_order
        self._seed = seed
        self._world = world
        self._device = device
        self._part = part
        # Batch norm needs two images in each process.
        self._bounds = batch_bounds(len(part), batch_size, least=2 * world.size)
        self._on_device: tuple[Tensor, Tensor] | None = None
        if device.type == "cuda" and _fits(part, device):
            self._on_device = (
                torch.from_numpy(np.array(part.images)).to(device),
                torch.from_numpy(part.targets).to(device),
            )

    def __len__(self) -> int:
        return len(self._bounds)

    @property
    def images(self) -> int:
        return len(self._part)

    @property
    def decoded(self) -> NDArray[np.uint8]:
        """All training images, [N, H, W, 3], in the order of the part."""
        return self._part.images

    @property
    def full_size(self) -> int:
        """Images of a full batch in this process."""
        start, end = self._world.share(*self._bounds[0])
        return end - start

    def generator(self, epoch: int) -> Generator:
        """The epoch's random generator; resuming needs no random state."""
        return Generator().manual_seed(self._seed * 1_000_003 + epoch)

    def of_epoch(self, generator: Generator) -> PythonGenerator[Batch]:
        """One epoch's batches; a thread fetches the next one during a step."""
        order = self._order(torch.from_numpy(self._part.targets), generator)
        if self._on_device is not None:
            order = order.to(self._device)
        with ThreadPoolExecutor(1, "prefetch") as thread:
            coming = thread.submit(self._fetch, order, *self._bounds[0])
            for following in [*self._bounds[1:], None]:
                batch = coming.result()
                if following is not None:
                    coming = thread.submit(self._fetch, order, *following)
                yield batch

    def _fetch(self, order: Tensor, start: int, end: int) -> Batch:
        """This process's part of the batch of the positions order[start:end]."""
        first, last = self._world.share(start, end)
        at = order[first:last]
        within = BatchSlice(start=first - start, end=last - start, total=end - start)
        if self._on_device is not None:
            images, targets = self._on_device
            return Batch(images[at], targets[at], within)
        positions = at.numpy()
        return Batch(
            self._sent(torch.from_numpy(self._part.images[positions])),
            self._sent(torch.from_numpy(self._part.targets[positions])),
            within,
        )

    def _sent(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor


def shuffled_order(targets: Tensor, generator: Generator) -> Tensor:
    """Every image once."""
    return torch.randperm(len(targets), generator=generator)


def balanced_order(targets: Tensor, generator: Generator) -> Tensor:
    """As many images as there are, equally from every class that has some.

    No image comes again before the others of its class have come.
    """
    classes = torch.unique(targets)
    shares = torch.arange(len(classes) + 1) * len(targets) // len(classes)
    chosen = []
    for class_index, wanted in zip(classes, shares.diff().tolist(), strict=True):
        members = torch.nonzero(targets == class_index)[:, 0]
        rounds = [
            torch.randperm(len(members), generator=generator)
            for _ in range(-(-wanted // len(members)))
        ]
        chosen.append(members[torch.cat(rounds)[:wanted]] if rounds else members[:0])
    return torch.cat(chosen)[torch.randperm(len(targets), generator=generator)]


def balanced_weights(targets: Tensor, *, classes: int) -> Tensor:
    """Weights of classes in the loss, float32 [K]; of an image 1 on average.

    A class without images has 0, as no target names it.
    """
    counts = torch.bincount(targets, minlength=classes)
    there = counts > 0
    weights = len(targets) / (there.sum() * counts.clamp(min=1))
    return torch.where(there, weights, 0.0).float()


def batch_bounds(
    count: int, batch_size: int, *, least: int = 2
) -> list[tuple[int, int]]:
    """Start and end of each batch; the last, smaller one is kept.

    A last batch of under `least` images joins the one before: batch norm over a 1x1 map
    has nothing to average in a single image, and torch refuses.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] < least <= batch_size:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def _fits(part: DecodedPart, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return part.images.nbytes <= GPU_SHARE * free

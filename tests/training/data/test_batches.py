"""Batches: each image once, in an order of seed and epoch alone."""

import numpy as np
import pytest
import torch

from training.compute import World
from training.data.batches import (
    Batches,
    balanced_order,
    balanced_weights,
    batch_bounds,
)
from training.data.decoded_images import DecodedPart


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (9, 4, [4, 5]),  # one image alone would leave batch norm nothing to average
        (3, 256, [3]),
        (1, 256, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_every_image_is_in_one_batch_and_the_smaller_last_one_is_kept(
    count: int, size: int, sizes: list[int]
) -> None:
    bounds = batch_bounds(count, size)

    assert [end - start for start, end in bounds] == sizes
    assert [start for start, _ in bounds[1:]] == [end for _, end in bounds[:-1]]


def _batches(*, seed: int = 0, world: World | None = None) -> Batches:
    images = np.arange(50, dtype=np.uint8)[:, None, None, None]
    part = DecodedPart(
        names=tuple(map(str, range(50))),
        images=np.broadcast_to(images, (50, 2, 2, 3)),
        targets=np.arange(50),
        digest="",
    )
    return Batches(
        part,
        batch_size=8,
        seed=seed,
        device=torch.device("cpu"),
        world=world or World(),
    )


def _targets(batches: Batches, epoch: int) -> list[list[int]]:
    return [b.targets.tolist() for b in batches.of_epoch(batches.generator(epoch))]


def test_an_epoch_brings_every_image_once_with_its_target() -> None:
    batches = _batches()
    seen = []
    for batch in batches.of_epoch(batches.generator(1)):
        assert batch.images[:, 0, 0, 0].tolist() == batch.targets.tolist()
        seen += batch.targets.tolist()

    assert sorted(seen) == list(range(50))
    assert len(batches) == 7


def test_the_order_is_another_for_each_epoch_and_seed_and_the_same_again() -> None:
    first = _targets(_batches(), 1)

    assert first == _targets(_batches(), 1)
    assert first != _targets(_batches(), 2)
    assert first != _targets(_batches(seed=1), 1)


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_each_batch_out_among_them(size: int) -> None:
    whole = _targets(_batches(), 1)
    shares = [_targets(_batches(world=World(rank, size)), 1) for rank in range(size)]

    joined = [
        [t for part in parts for t in part] for parts in zip(*shares, strict=True)
    ]

    # The last 2 images are too few for so many, and join the batch before.
    assert joined == [*whole[:-2], whole[-2] + whole[-1]]
    assert all(len(part) >= 2 for parts in shares for part in parts)


@pytest.mark.parametrize("sizes", [(2, 30, 300), (5, 5, 5), (1, 1, 9)])
def test_a_balanced_epoch_has_equally_many_images_of_every_class(
    sizes: tuple[int, ...],
) -> None:
    targets = torch.repeat_interleave(torch.tensor([0, 1, 4]), torch.tensor(sizes))

    order = balanced_order(targets, torch.Generator().manual_seed(0))

    assert len(order) == len(targets)
    counts = torch.bincount(targets[order])[[0, 1, 4]]
    assert counts.max() - counts.min() <= 1
    times = torch.bincount(order, minlength=len(targets))
    for class_index in (0, 1, 4):
        of_class = times[targets == class_index]
        assert of_class.max() - of_class.min() <= 1
    again = balanced_order(targets, torch.Generator().manual_seed(0))
    assert torch.equal(order, again)
    assert not torch.equal(order, order.sort().values)


def test_balanced_weights_give_every_class_the_same_sum_and_an_image_1_on_average() -> (
    None
):
    targets = torch.tensor([0] * 2 + [1] * 30 + [3] * 300)

    weights = balanced_weights(targets, classes=5)

    sums = torch.bincount(targets, weights=weights[targets].double(), minlength=5)
    assert sums[[0, 1, 3]].tolist() == pytest.approx([332 / 3] * 3)
    assert weights[[2, 4]].tolist() == [0, 0]
    assert weights[targets].mean().item() == pytest.approx(1)

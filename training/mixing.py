"""Two images in one: each image mixed with its neighbour, and learned as both."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from training.augment import BatchSlice, boxes, uniform


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Images of two classes each, to be learned in proportion.

    The loss of image i is `share[i]` times that of `targets[i]`, and the rest of 1
    times that of `other_targets[i]`.
    """

    inputs: Tensor
    targets: Tensor
    other_targets: Tensor
    share: Tensor
    """float32 [N], 0..1."""


def cutmix(
    inputs: Tensor,
    targets: Tensor,
    *,
    generator: Generator,
    probability: float = 1.0,
    within: BatchSlice | None = None,
) -> Mixed:
    """Each image with a box of its neighbour's pixels in the same place; [N, 3, H, W].

    The box's area is uniform, its centre anywhere, what reaches over the edge is
    lost: Yun et al. 2019, arXiv 1905.04899. The share counts pixels. With 1 -
    `probability` an image stays whole. Who the neighbour is: `_neighbours`.
    """
    drawn = uniform(4, inputs, generator, within)
    sides = torch.where(drawn[3] < probability, drawn[2].sqrt(), 0.0)
    inside = boxes(inputs, centres=drawn[:2], sides=sides)
    other = _neighbours(inputs, within)
    return Mixed(
        inputs=torch.where(inside, inputs[other], inputs),
        targets=targets,
        other_targets=targets[other],
        share=1 - inside.float().mean((1, 2, 3)),
    )


def mixup(
    inputs: Tensor,
    targets: Tensor,
    *,
    generator: Generator,
    probability: float = 1.0,
    within: BatchSlice | None = None,
) -> Mixed:
    """Each image blended with its neighbour, in a share uniform in 0..1; [N, 3, H, W].

    Zhang et al. 2018, arXiv 1710.09412, with alpha = 1, as they use it on CIFAR. With
    1 - `probability` an image stays whole. Who the neighbour is: `_neighbours`.
    """
    drawn = uniform(2, inputs, generator, within)
    share = torch.where(drawn[1] < probability, drawn[0], 1.0)
    other = _neighbours(inputs, within)
    return Mixed(
        inputs=torch.lerp(inputs[other], inputs, share[:, None, None, None]),
        targets=targets,
        other_targets=targets[other],
        share=share,
    )


def _neighbours(inputs: Tensor, within: BatchSlice | None) -> Tensor:
    """int64 [N]: images 2j and 2j + 1 of the whole batch are each other's neighbour.

    A batch comes in random order, so they are a random pair. Its last image is its own
    neighbour where the number is odd. ValueError where a slice parts a pair.
    """
    if within and (within.start % 2 or (within.end % 2 and within.end != within.total)):
        raise ValueError(
            f"images {within.start}:{within.end} of {within.total} part a pair that is "
            "to be mixed; start and end slices at even places"
        )
    count = len(inputs)
    places = torch.arange(count, device=inputs.device)
    return places.bitwise_xor(1).clamp(max=count - 1)

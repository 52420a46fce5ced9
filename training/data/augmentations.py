"""Random changes to a batch of images: shift, mirror, window, colours, mixing.

Each image has its own random numbers, drawn from a generator on the CPU. If several
processes share a batch, each draws for the whole batch and uses its own part
(`within`), so an image changes as it would in a single process. No function but
random_operations reads a tensor back from a device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, pad
from torchvision.transforms import RandAugment

from training.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class BatchSlice:
    """Images `start:end` of a batch of `total` images: the part of one process."""

    start: int
    end: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= self.total:
            raise ValueError(
                f"images {self.start}:{self.end} are no part of a batch of {self.total}"
            )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Inputs of a training step and the classes to learn from them."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True, kw_only=True)
class Mixed(Examples):
    """Images of two classes each.

    The loss of image i is `share[i]` times that of `targets[i]` plus `1 - share[i]`
    times that of `other_targets[i]`.
    """

    other_targets: Tensor
    share: Tensor
    """float32 [N], 0..1."""


def augment(
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    *,
    normalise: Callable[[Tensor], Tensor],
    generator: Generator,
    within: BatchSlice | None = None,
) -> Examples:
    """Images uint8 [N, H, W, 3] as the recipe changes them, normalised."""
    if recipe.crop_padding:
        images = random_crop(
            images, padding=recipe.crop_padding, generator=generator, within=within
        )
    if recipe.mirror:
        images = random_mirror(images, generator=generator, within=within)
    if recipe.randaugment:
        images = random_operations(
            images, magnitude=recipe.randaugment, generator=generator, within=within
        )
    inputs = normalise(images)
    if recipe.least_area < 1:
        inputs = random_resized_crop(
            inputs,
            least_area=recipe.least_area,
            size=images.shape[1],
            generator=generator,
            within=within,
        )
    for mix, probability in ((cutmix, recipe.cutmix), (mixup, recipe.mixup)):
        if probability:
            return mix(
                inputs,
                targets,
                generator=generator,
                probability=probability,
                within=within,
            )
    return Examples(inputs=inputs, targets=targets)


def random_crop(
    images: Tensor,
    *,
    padding: int,
    generator: Generator,
    within: BatchSlice | None = None,
) -> Tensor:
    """Shifts each image by up to `padding` pixels each way, over black.

    uint8 [N, H, W, 3]. The same as cropping H x W out of the padded image.
    """
    count, height, width, _ = images.shape
    drawn = uniform(2, images, generator, within)
    # The product of a float32 below 1 and an odd number stays below that number.
    top, left = (drawn * (2 * padding + 1)).long()
    padded = pad(images, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # a view
    index = torch.arange(count, device=images.device)
    return windows[index, top, left].permute(0, 2, 3, 1)  # from [N, 3, H, W]


def random_mirror(
    images: Tensor, *, generator: Generator, within: BatchSlice | None = None
) -> Tensor:
    """Mirrors each image left to right with probability 0.5; uint8 [N, H, W, 3]."""
    (drawn,) = uniform(1, images, generator, within)
    return torch.where(drawn[:, None, None, None] < 0.5, images.flip(2), images)


def random_operations(
    images: Tensor,
    *,
    magnitude: int,
    generator: Generator,
    within: BatchSlice | None = None,
) -> Tensor:
    """Two of RandAugment's operations on each image; uint8 [N, H, W, 3].

    Cubuk et al. 2019, arXiv 1909.13719, by torchvision; magnitude 0..30.
    """
    change = RandAugment(num_ops=2, magnitude=magnitude)
    # On the CPU: torchvision draws there, one image after the other.
    seeds = (uniform(1, images, generator, within)[0].double().cpu() * 2**24).long()
    changed = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images.cpu(), seeds.tolist(), strict=True):
            # Not torch.manual_seed, which also seeds drop-out on a GPU.
            torch.default_generator.manual_seed(seed)
            changed.append(change(image.permute(2, 0, 1)).permute(1, 2, 0))
    return torch.stack(changed).to(images.device, non_blocking=True)


def random_resized_crop(
    inputs: Tensor,
    *,
    least_area: float,
    size: int,
    generator: Generator,
    within: BatchSlice | None = None,
) -> Tensor:
    """Stretches a random window of each image to `size` x `size`; float [N, 3, H, W].

    The window has `least_area`..1 of the image's area, uniformly. Its aspect is
    3/4..4/3 of the image's, uniformly in the logarithm and within what fits. After
    Szegedy et al. 2015, arXiv 1409.4842, without the retries.

    Bilinear without antialiasing, for windows of up to twice `size`. On Tiny ImageNet
    it differs from antialiased windows by 3 of 255 (rms) at 1.1 times `size`, and by 10
    at 1.7 times.
    """
    drawn = uniform(4, inputs, generator, within)
    area = least_area + (1 - least_area) * drawn[0]
    # A window with an aspect above 1 / area would be wider than the image.
    most = (-area.log()).clamp(max=math.log(4 / 3))
    aspect = ((2 * drawn[1] - 1) * most).exp()
    width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
    windows = inputs.new_zeros(len(inputs), 2, 3)
    windows[:, 0, 0], windows[:, 1, 1] = width, height
    windows[:, 0, 2] = (2 * drawn[2] - 1) * (1 - width)
    windows[:, 1, 2] = (2 * drawn[3] - 1) * (1 - height)
    grid = affine_grid(windows, [len(inputs), 3, size, size], align_corners=False)
    # Samples reach half a pixel beyond the edge; they get the edge's value.
    cropped = grid_sample(inputs, grid, padding_mode="border", align_corners=False)
    return cropped.contiguous(memory_format=torch.channels_last)


def uniform(
    numbers: int, batch: Tensor, generator: Generator, within: BatchSlice | None
) -> Tensor:
    """float32 [numbers, N] in [0, 1), on the batch's device; column i is image i's."""
    held = within or BatchSlice(start=0, end=len(batch), total=len(batch))
    assert held.end - held.start == len(batch)
    drawn = torch.rand(numbers, held.total, generator=generator)
    # A blocking copy would wait until the device has finished all queued work.
    return drawn[:, held.start : held.end].to(batch.device, non_blocking=True)


def boxes(inputs: Tensor, *, centres: Tensor, sides: Tensor) -> Tensor:
    """bool [N, 1, H, W]: the pixels whose middle is inside the image's box.

    `centres` [2, N] from the top and the left, and `sides` [N], as fractions of height
    and width.
    """
    inside = []
    for pixels, centre in zip(inputs.shape[2:], centres, strict=True):
        middles = (torch.arange(pixels, device=inputs.device) + 0.5) / pixels
        inside.append((middles - centre[:, None]).abs() < sides[:, None] / 2)
    rows, columns = inside
    box: Tensor = rows[:, :, None] & columns[:, None, :]
    return box[:, None]


def cutmix(
    inputs: Tensor,
    targets: Tensor,
    *,
    generator: Generator,
    probability: float = 1.0,
    within: BatchSlice | None = None,
) -> Mixed:
    """Copies a box of pixels from each image's neighbour; [N, 3, H, W].

    The box's area is uniform and its centre is anywhere; it is cut at the edge: Yun et
    al. 2019, arXiv 1905.04899. The share counts pixels. An image stays whole with
    probability 1 - `probability`. `_neighbours` defines the neighbour.
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
    """Blends each image with its neighbour; the share is uniform in 0..1.

    [N, 3, H, W]. Zhang et al. 2018, arXiv 1710.09412, with alpha = 1 as on CIFAR. An
    image stays whole with probability 1 - `probability`. `_neighbours` defines the
    neighbour.
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
    """int64 [N]: images 2j and 2j + 1 of the whole batch are neighbours.

    A batch has random order, so the pair is random. The last image of an odd batch is
    its own neighbour. Raises ValueError if a slice separates a pair.
    """
    if within and (within.start % 2 or (within.end % 2 and within.end != within.total)):
        raise ValueError(
            f"images {within.start}:{within.end} of {within.total} separate a pair to "
            "be mixed; start and end slices at even places"
        )
    count = len(inputs)
    places = torch.arange(count, device=inputs.device)
    return places.bitwise_xor(1).clamp(max=count - 1)

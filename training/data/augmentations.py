"""Random changes to a batch of images: shifts, mirrors, windows and holes.

Every number is drawn anew for each image, from the generator handed in, which lives on
the CPU. Where several processes share a batch, each draws for the whole of it and keeps
what is its own (`within`): its images change as they would in a single process.
Nothing is read back from a device.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, pad


@dataclass(frozen=True, kw_only=True)
class BatchSlice:
    """The images `start:end` of a batch of `total`: what one process holds."""

    start: int
    end: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= self.total:
            raise ValueError(
                f"images {self.start}:{self.end} are no part of a batch of {self.total}"
            )


def random_crop(
    images: Tensor,
    *,
    padding: int,
    generator: Generator,
    within: BatchSlice | None = None,
) -> Tensor:
    """Each image shifted by up to `padding` pixels each way, over black.

    uint8 [N, H, W, 3], the same as cropping H x W out of the padded image.
    """
    count, height, width, _ = images.shape
    drawn = uniform(2, images, generator, within)
    # A float32 below 1, times an odd number, is never rounded up to that number.
    top, left = (drawn * (2 * padding + 1)).long()
    padded = pad(images, (0, 0, padding, padding, padding, padding))
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # a view
    index = torch.arange(count, device=images.device)
    return windows[index, top, left].permute(0, 2, 3, 1)  # from [N, 3, H, W]


def random_mirror(
    images: Tensor, *, generator: Generator, within: BatchSlice | None = None
) -> Tensor:
    """Each image mirrored left to right with probability a half; uint8 [N, H, W, 3]."""
    (drawn,) = uniform(1, images, generator, within)
    return torch.where(drawn[:, None, None, None] < 0.5, images.flip(2), images)


def random_resized_crop(
    inputs: Tensor,
    *,
    least_area: float,
    size: int,
    generator: Generator,
    within: BatchSlice | None = None,
) -> Tensor:
    """A window of each image, stretched to `size` x `size`; float [N, 3, H, W].

    The window holds `least_area`..1 of the image's area, uniformly; its aspect is
    3/4..4/3 of the image's, uniformly in the logarithm and no further than fits. After
    Szegedy et al. 2015, arXiv 1409.4842, without the retries.

    Bilinear, not antialiased: for windows of up to twice `size`. Off Tiny ImageNet's
    antialiased windows by 3 of 255 (rms) at 1.1 times `size`, by 10 at 1.7.
    """
    drawn = uniform(4, inputs, generator, within)
    area = least_area + (1 - least_area) * drawn[0]
    # An aspect of more than 1 / area is wider than the image.
    most = (-area.log()).clamp(max=math.log(4 / 3))
    aspect = ((2 * drawn[1] - 1) * most).exp()
    width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
    windows = inputs.new_zeros(len(inputs), 2, 3)
    windows[:, 0, 0], windows[:, 1, 1] = width, height
    windows[:, 0, 2] = (2 * drawn[2] - 1) * (1 - width)
    windows[:, 1, 2] = (2 * drawn[3] - 1) * (1 - height)
    grid = affine_grid(windows, [len(inputs), 3, size, size], align_corners=False)
    # Half a pixel beyond the edge is all that is asked for: the edge itself.
    cropped = grid_sample(inputs, grid, padding_mode="border", align_corners=False)
    return cropped.contiguous(memory_format=torch.channels_last)


def resize(inputs: Tensor, size: int) -> Tensor:
    """float [N, 3, H, W] -> [N, 3, size, size], bilinear and antialiased."""
    if inputs.shape[2:] == (size, size):
        return inputs
    return interpolate(inputs, (size, size), mode="bilinear", antialias=True)


def cutout(
    inputs: Tensor,
    *,
    side: float,
    generator: Generator,
    within: BatchSlice | None = None,
) -> Tensor:
    """A square hole in each image, `side` of its width and height; [N, 3, H, W].

    Its centre is anywhere and it may reach over the edge: DeVries and Taylor 2017,
    arXiv 1708.04552. It is filled with 0, the mean of normalised inputs.
    """
    drawn = uniform(2, inputs, generator, within)
    holes = boxes(inputs, centres=drawn, sides=torch.full_like(drawn[0], side))
    return torch.where(holes, 0.0, inputs)


def uniform(
    numbers: int, batch: Tensor, generator: Generator, within: BatchSlice | None
) -> Tensor:
    """float32 [numbers, N] in [0, 1), on the batch's device; column i is image i's."""
    held = within or BatchSlice(start=0, end=len(batch), total=len(batch))
    assert held.end - held.start == len(batch)
    drawn = torch.rand(numbers, held.total, generator=generator)
    # Blocking, the copy would wait until the device has done all it was given.
    return drawn[:, held.start : held.end].to(batch.device, non_blocking=True)


def boxes(inputs: Tensor, *, centres: Tensor, sides: Tensor) -> Tensor:
    """bool [N, 1, H, W]: the pixels whose middle is inside the box.

    Centres [2, N] from the top and from the left, and sides [N], in heights and widths.
    """
    inside = []
    for pixels, centre in zip(inputs.shape[2:], centres, strict=True):
        middles = (torch.arange(pixels, device=inputs.device) + 0.5) / pixels
        inside.append((middles - centre[:, None]).abs() < sides[:, None] / 2)
    rows, columns = inside
    box: Tensor = rows[:, :, None] & columns[:, None, :]
    return box[:, None]


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

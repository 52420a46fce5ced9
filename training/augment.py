"""Random changes to a batch of images, one draw per image."""

import torch
from torch import Generator, Tensor


def random_crop(images: Tensor, *, padding: int, generator: Generator) -> Tensor:
    """Each image shifted by up to `padding` pixels each way, over black.

    uint8 [N, H, W, 3], the same as cropping H x W out of the padded image.
    """
    count, height, width, _ = images.shape
    padded = torch.nn.functional.pad(images, (0, 0, padding, padding, padding, padding))
    top, left = torch.randint(
        0, 2 * padding + 1, (2, count), generator=generator, device=generator.device
    ).to(images.device)
    rows = top[:, None] + torch.arange(height, device=images.device)  # [N, H]
    columns = left[:, None] + torch.arange(width, device=images.device)  # [N, W]
    index = torch.arange(count, device=images.device)
    return padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]


def random_mirror(images: Tensor, *, generator: Generator) -> Tensor:
    """Each image mirrored left to right with probability a half; uint8 [N, H, W, 3]."""
    mirrored = torch.rand(len(images), generator=generator, device=generator.device).to(
        images.device
    )
    return torch.where(mirrored[:, None, None, None] < 0.5, images.flip(2), images)

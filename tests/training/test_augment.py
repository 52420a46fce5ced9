"""Random changes to a batch: what they do to one image, and how often."""

import torch

from training.augment import random_crop, random_mirror


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_crop_shows_a_shifted_image_over_black() -> None:
    image = torch.arange(1, 17, dtype=torch.uint8).view(1, 4, 4, 1).expand(1, 4, 4, 3)
    framed = torch.zeros(8, 8, 3, dtype=torch.uint8)
    framed[2:6, 2:6] = image[0]
    windows = [framed[y : y + 4, x : x + 4] for y in range(5) for x in range(5)]

    cropped = random_crop(image.expand(500, 4, 4, 3), padding=2, generator=_generator())

    seen = [
        next(w for w, window in enumerate(windows) if (c == window).all())
        for c in cropped
    ]
    assert set(seen) == set(range(25))


def test_every_image_has_a_shift_of_its_own() -> None:
    image = torch.arange(64 * 3, dtype=torch.uint8).view(1, 8, 8, 3)

    cropped = random_crop(image.expand(64, 8, 8, 3), padding=4, generator=_generator())

    assert len({tuple(c.flatten().tolist()) for c in cropped}) > 30


def test_half_of_the_images_are_mirrored_and_the_others_untouched() -> None:
    image = torch.arange(4 * 4 * 3, dtype=torch.uint8).view(1, 4, 4, 3)
    count = 2_000

    mirrored = random_mirror(image.expand(count, 4, 4, 3), generator=_generator())

    flipped = (mirrored == image.flip(2)).flatten(1).all(1)
    kept = (mirrored == image).flatten(1).all(1)
    assert (flipped ^ kept).all()
    # 5 standard deviations of a fair coin: sqrt(2000) / 2 = 22
    assert abs(int(flipped.sum()) - count // 2) < 112


def test_the_same_generator_state_gives_the_same_images() -> None:
    images = torch.randint(0, 256, (9, 8, 8, 3), dtype=torch.uint8)

    once = random_crop(images, padding=2, generator=_generator())

    assert (once == random_crop(images, padding=2, generator=_generator())).all()

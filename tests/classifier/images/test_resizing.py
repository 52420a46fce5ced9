"""Stretch and centre crop, against torchvision."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from classifier.images.decoding import RgbImage
from classifier.images.resizing import Filter, Resizing

FILTERS: dict[Filter, InterpolationMode] = {
    "bilinear-antialias": InterpolationMode.BILINEAR,
    "bicubic-antialias": InterpolationMode.BICUBIC,
}
CROPS = ((256, 224, 224), (64, 64, 64), (72, 64, 40), (33, 20, 31))


def photo(height: int, width: int) -> RgbImage:
    """Waves, edges and noise, as photographs have them."""
    rng = np.random.default_rng((height, width))
    y, x = np.mgrid[:height, :width]
    waves = 128 + 90 * np.sin(x / 7 + y / 5) + 60 * (x * 3 > y * 4)
    noisy = waves[..., None] + rng.normal(0, 25, (height, width, 3))
    pixels: RgbImage = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


@pytest.mark.parametrize("resize", FILTERS)
def test_a_crop_is_torchvisions_resize_and_centre_crop(resize: Filter) -> None:
    rng = np.random.default_rng(0)
    # Up to four times as wide as high, as all photographs are but panoramas.
    short = rng.integers(9, 240, 125)
    long = (short * rng.uniform(1, 4, 125)).astype(int)
    long[::7] = short[::7]

    for index, (a, b) in enumerate(zip(short.tolist(), long.tolist(), strict=True)):
        image = photo(a, b) if index % 2 else photo(b, a)
        resize_to, height, width = CROPS[index % len(CROPS)]
        torchvisions = Compose(
            [Resize(resize_to, FILTERS[resize]), CenterCrop((height, width))]
        )

        cropped = Resizing(height, width, resize, resize_to)(image)

        expected = np.asarray(torchvisions(Image.fromarray(image)))
        assert cropped.shape == (height, width, 3)
        assert np.abs(cropped.astype(int) - expected).max() <= 1, image.shape


@pytest.mark.parametrize("shape", [(40, 700), (700, 40), (60, 301)])
def test_a_crop_of_a_panorama_is_that_of_the_whole(shape: tuple[int, int]) -> None:
    image = photo(*shape)

    cropped = Resizing(64, 64, "bilinear-antialias", 72)(image)

    whole = Compose([Resize(72, InterpolationMode.BILINEAR), CenterCrop(64)])
    expected = np.asarray(whole(Image.fromarray(image)))
    # Pillow keeps the place of the crop in float32.
    assert np.abs(cropped.astype(int) - expected).max() <= 2


def test_a_line_of_pixels_takes_no_room() -> None:
    """Resized as a whole, 1 x 60,000 at 256 is 11.8 GB."""
    line = np.zeros((1, 60_000, 3), np.uint8)

    assert Resizing(224, 224, "bicubic-antialias", 256)(line).shape == (224, 224, 3)


def test_a_stretch_takes_the_whole_image() -> None:
    image = photo(30, 50)

    stretched = Resizing(16, 24)(image)

    expected = Image.fromarray(image).resize((24, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(stretched, np.asarray(expected))


def test_an_image_of_the_right_size_is_not_copied() -> None:
    image = photo(16, 24)

    assert Resizing(16, 24)(image) is image

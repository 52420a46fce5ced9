"""Near-duplicates across a split: found as they are, and not where there are none."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from tests.conftest import encoded
from training.data import near_duplicates
from training.data.near_duplicates import count_near_duplicates


def _photos(count: int, seed: int) -> NDArray[np.uint8]:
    """Smooth random images, [N, 48, 64, 3]."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 8, 3), np.uint8)
    large = [Image.fromarray(image).resize((64, 48), 3) for image in small]
    return np.stack([np.asarray(image) for image in large])


def _changed(image: NDArray[np.uint8], change: str) -> NDArray[np.uint8]:
    picture = Image.fromarray(image)
    if change == "saved again":
        picture = Image.open(BytesIO(encoded(picture, quality=75)))
    if change == "brighter":
        picture = ImageEnhance.Brightness(picture).enhance(1.1)
    if change == "scaled":
        picture = picture.resize((40, 30), 3).resize((64, 48), 3)
    return np.asarray(picture)


@pytest.mark.parametrize("change", ["none", "saved again", "brighter", "scaled"])
def test_changed_copies_are_found(change: str) -> None:
    train, val = _photos(200, seed=0), _photos(100, seed=1)
    val[:20] = [_changed(image, change) for image in train[:20]]

    assert 19 <= count_near_duplicates(train, val) <= 20


def test_other_images_are_none() -> None:
    assert count_near_duplicates(_photos(2000, seed=0), _photos(1000, seed=1)) == 0


@pytest.mark.parametrize("size", [8, 9, 17])
def test_images_of_every_size_have_a_hash(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), np.uint8)

    assert count_near_duplicates(images, images[:3]) == 3


def test_beyond_a_number_of_pairs_equal_hashes_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 10)
    train, val = _photos(50, seed=0), _photos(20, seed=1)
    val[:2] = train[:2]

    assert count_near_duplicates(train, val) == 2

"""Data sets in both layouts, and a function that opens them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from classifier.datasets.dataset import Dataset
from classifier.datasets.source import open_dataset
from tests.conftest import encoded, picture


@pytest.fixture
def open_(tmp_path: Path) -> Callable[..., Dataset]:
    def open_it(source: Path | str, *, want_train: bool = True) -> Dataset:
        cache = tmp_path / "cache"
        return open_dataset(str(source), cache=cache, want_train=want_train)

    return open_it


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Tiny ImageNet's layout with two classes."""
    root = tmp_path / "tiny-imagenet-200"
    for class_id in ("n02", "n01"):
        images = root / "train" / class_id / "images"
        images.mkdir(parents=True)
        (root / "train" / class_id / f"{class_id}_boxes.txt").write_text(
            "x\t0\t0\t1\t1\n"
        )
        for number in range(3):
            (images / f"{class_id}_{number}.JPEG").write_bytes(encoded(picture()))
    images = root / "val" / "images"
    images.mkdir(parents=True)
    for number in range(4):
        (images / f"val_{number}.JPEG").write_bytes(encoded(picture()))
    lines = [f"val_{n}.JPEG\tn0{2 - n % 2}\t0\t0\t62\t62\n" for n in range(4)]
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "words.txt").write_text(
        "n01\tgoldfish, Carassius auratus\nn02\ttench\nn99\tx\n"
    )
    return root


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder of class folders, with the same file names in each class."""
    root = tmp_path / "my flowers"
    for part in ("train", "val"):
        for class_id in ("rose", "daisy"):
            folder = root / part / class_id
            folder.mkdir(parents=True)
            for number in range(2):
                (folder / f"{number}.png").write_bytes(encoded(picture(), "PNG"))
            (folder / "notes.txt").write_text("no image")
    return root

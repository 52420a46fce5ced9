"""A part of a data set as class folders of links: the same files for two programs."""

import argparse
import tempfile
from pathlib import Path

from classifier.dataset import Part
from classifier.layouts import open_dataset


def arrange(
    source: str,
    to: Path,
    *,
    per_class: int | None = None,
    val_per_class: int | None = None,
) -> Path:
    """The folder made in `to`: train/<class>/* and val/<class>/*, links to `source`.

    torchvision's ImageFolder and `python -m training` both read it as it is. The first
    images of each class, in sorted order; None takes all. BadDataset as in training.
    """
    with tempfile.TemporaryDirectory() as cache:
        dataset = open_dataset(source, cache=Path(cache), want_train=True)
    assert dataset.train is not None
    folder = to / dataset.name
    for name, part, limit in (
        ("train", dataset.train, per_class),
        ("val", dataset.val, val_per_class),
    ):
        _link(part if limit is None else part.first_per_class(limit), folder / name)
    return folder


def _link(part: Part, folder: Path) -> None:
    for class_id in sorted(set(part.class_ids)):
        (folder / class_id).mkdir(parents=True)
    for class_id, file in zip(part.class_ids, part.files, strict=True):
        (folder / class_id / file.name).symlink_to(file)


def existing_folder(text: str) -> Path:
    """argparse's type for `--data`; an archive's links would outlive what they name."""
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder; unpack it first")
    return path


def count_images(part: Path) -> int:
    """In an arranged part."""
    return sum(1 for _ in part.glob("*/*"))

"""Tells which layout a data set has, and lists it."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from classifier.datasets.archives import SUFFIXES, is_archive, stem, unpack
from classifier.datasets.dataset import BadDataset, Dataset
from classifier.datasets.layouts import (
    is_tiny_imagenet,
    read_image_folder,
    read_tiny_imagenet,
)
from classifier.datasets.listing import find_root, subfolders
from classifier.storage import build_once

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_digits(cache: Path) -> Path:
    """The folder; 1,797 grey images of 8 x 8, half of each class in train/ and in val/.

    The first half of each class trains: the digits come in the order of their writers,
    so the halves share few of them. Files rather than arrays, because everything
    downstream (digest, curl, compare) takes an image as the bytes of a file.
    """
    return build_once(cache / "digits", _write)


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits  # 1 s to import, and only this needs it

    digits = load_digits()
    for class_index, name in enumerate(NAMES):
        members = np.flatnonzero(digits.target == class_index)
        half = (len(members) + 1) // 2
        for part, chosen in (("train", members[:half]), ("val", members[half:])):
            class_folder = folder / part / str(class_index)
            class_folder.mkdir(parents=True)
            for position in chosen:
                grey = np.rint(digits.images[position] * (255 / 16)).astype(np.uint8)
                # Stored, not deflated: the same bytes, so the same digest, everywhere.
                Image.fromarray(grey).save(
                    class_folder / f"digit_{position:04}.png", compress_level=0
                )
        with (folder / "words.txt").open("a") as words:
            words.write(f"{class_index}\t{name}\n")


def open_dataset(source: str, *, cache: Path, want_train: bool) -> Dataset:
    """The data set that `--data SOURCE` names: `digits`, a folder or an archive.

    Nothing is decoded yet. BadDataset says what is wrong with it and what to do.
    """
    if source == "digits":
        digits = read_image_folder(write_digits(cache), want_train=want_train)
        return replace(
            digits, name="digits", source="digits", mirrored_is_same_class=False
        )
    path = Path(os.path.expanduser(source)).absolute()
    _check_there(path)
    if path.is_dir():
        return _read_folder(path, want_train=want_train, name=path.name)
    if not is_archive(path):
        raise BadDataset(
            f"{path} is a file of no kind known here; --data takes 'digits', a folder, "
            f"or an archive ({', '.join(SUFFIXES)})"
        )
    unpacked = unpack(path, cache=cache)
    try:
        inner = find_root(unpacked) or _single_folder(unpacked)
        dataset = _read_folder(inner, want_train=want_train, name=stem(path))
    except BadDataset as error:  # the user knows the archive, not where it was unpacked
        raise BadDataset(str(error).replace(str(unpacked), str(path))) from error
    return replace(dataset, source=str(path))


def _check_there(path: Path) -> None:
    try:
        is_there = path.exists()
    except PermissionError as error:
        raise BadDataset(
            f"{path} cannot be looked at: {error.strerror}; give this user the right "
            f"to enter the folders above it (chmod a+x)"
        ) from error
    if not is_there:
        raise BadDataset(
            f"no data at {path}; --data takes 'digits', a folder, or an archive "
            f"({', '.join(SUFFIXES)})"
        )


def _single_folder(folder: Path) -> Path:
    """Archives usually hold one folder; what is wrong is then said of that."""
    inner = subfolders(folder)
    return inner[0] if len(inner) == 1 else folder


def _read_folder(folder: Path, *, want_train: bool, name: str) -> Dataset:
    root = find_root(folder) or folder
    if is_tiny_imagenet(root):
        dataset = read_tiny_imagenet(root, want_train=want_train)
    else:
        dataset = read_image_folder(root, want_train=want_train)
        dataset = replace(dataset, name=_plain_name(name))
    if root == folder:
        return dataset
    note = f"the data set is in {root.relative_to(folder)}"
    return replace(dataset, source=str(folder), own_notes=(note,))


def _plain_name(name: str) -> str:
    """Fit for a registered model's name and a URL: letters, digits, '.', '_', '-'."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "images"

"""Tells which layout a data set has, and lists it."""

import os
import re
from dataclasses import replace
from pathlib import Path

from classifier.archives import SUFFIXES, is_archive, stem, unpack
from classifier.data_root import find_root
from classifier.dataset import BadDataset, Dataset
from classifier.digits import write_digits
from classifier.image_folder import read_image_folder
from classifier.listing import subfolders
from classifier.tiny_imagenet import is_tiny_imagenet, read_tiny_imagenet


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

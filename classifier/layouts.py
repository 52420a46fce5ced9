"""Tells which layout a data set has, and lists it."""

import os
import re
from dataclasses import replace
from pathlib import Path

from classifier.archives import SUFFIXES, is_archive, stem, unpack
from classifier.dataset import BadDataset, Dataset
from classifier.digits import write_digits
from classifier.image_folder import read_image_folder
from classifier.tiny_imagenet import is_tiny_imagenet, read_tiny_imagenet

_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and bytes that are no UTF-8."""


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
    if not path.exists():
        raise BadDataset(
            f"no data at {path}; --data takes 'digits', a folder, or an archive "
            f"({', '.join(SUFFIXES)})"
        )
    if path.is_dir():
        return _read_folder(path, want_train=want_train)
    if not is_archive(path):
        raise BadDataset(
            f"{path} is a file of no kind known here; --data takes 'digits', a folder, "
            f"or an archive ({', '.join(SUFFIXES)})"
        )
    unpacked = unpack(path, cache=cache)
    dataset = _read_folder(unpacked, want_train=want_train, name=stem(path))
    return replace(dataset, source=str(path))


def _checked(dataset: Dataset) -> Dataset:
    """BadDataset for file names that no report, table or form could carry."""
    for part in (dataset.val, dataset.train):
        for file in part.files if part else ():
            if _UNFIT.search(str(file)):
                raise BadDataset(
                    f"the name of {str(file)!r} is not plain UTF-8 text; rename the "
                    f"file"
                )
    return dataset


def _read_folder(root: Path, *, want_train: bool, name: str | None = None) -> Dataset:
    if is_tiny_imagenet(root):
        return _checked(read_tiny_imagenet(root, want_train=want_train))
    dataset = _checked(read_image_folder(root, want_train=want_train))
    return replace(dataset, name=_plain_name(name or dataset.name))


def _plain_name(name: str) -> str:
    """Fit for a registered model's name and a URL: letters, digits, '.', '_', '-'."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "images"

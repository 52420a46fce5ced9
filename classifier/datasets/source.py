"""Opens the data set that `--data` names: digits, a folder or an archive."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from classifier.datasets.archives import SUFFIXES, is_archive, stem, unpack
from classifier.datasets.dataset import BadDataset, Dataset
from classifier.datasets.flagged import is_flagged, read_flagged
from classifier.datasets.flat_folders import read_flat_folders
from classifier.datasets.layouts import (
    is_tiny_imagenet,
    read_image_folder,
    read_tiny_imagenet,
)
from classifier.datasets.listing import subfolders
from classifier.datasets.parts import (
    classes_named_like_parts,
    find_flat_root,
    find_root,
    folders_beside_a_part,
    has_parts,
)
from classifier.datasets.split import AS_RECORDED, Splitting
from classifier.storage import build_once

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _write_digits(folder: Path) -> None:
    """Write 1,797 grey images of 8 x 8, half of each class into train/ and val/.

    The first half of each class is for training. The digits are ordered by writer, so
    the halves share few writers. The images are files, because the digest, curl and
    compare need their bytes.
    """
    from sklearn.datasets import load_digits  # 1 s to import

    digits = load_digits()
    for class_index, name in enumerate(NAMES):
        members = np.flatnonzero(digits.target == class_index)
        half = (len(members) + 1) // 2
        for part, chosen in (("train", members[:half]), ("val", members[half:])):
            class_folder = folder / part / str(class_index)
            class_folder.mkdir(parents=True)
            for position in chosen:
                grey = np.rint(digits.images[position] * (255 / 16)).astype(np.uint8)
                # Uncompressed, so that bytes and digest are the same on all machines.
                Image.fromarray(grey).save(
                    class_folder / f"digit_{position:04}.png", compress_level=0
                )
        with (folder / "words.txt").open("a") as words:
            words.write(f"{class_index}\t{name}\n")


def open_dataset(
    source: str,
    *,
    cache: Path,
    want_train: bool,
    labels: Path | None = None,
    splitting: Splitting = AS_RECORDED,
) -> Dataset:
    """The data set of `--data SOURCE`: `digits`, a folder or an archive.

    `labels` is a table of the images' classes, and `splitting` says how images without
    parts are split. Decodes no image. Raises BadDataset with the fault and the remedy.
    """
    read_folder = partial(
        _read_folder, want_train=want_train, labels=labels, splitting=splitting
    )
    if source == "digits":
        _check_no_split("digits", labels, splitting)
        folder = build_once(cache / "digits", _write_digits)
        digits = read_image_folder(folder, want_train=want_train)
        return replace(
            digits, name="digits", source="digits", mirrored_is_same_class=False
        )
    path = Path(os.path.expanduser(source)).absolute()
    _check_there(path)
    if path.is_dir():
        return read_folder(path, name=path.name)
    if not is_archive(path):
        raise BadDataset(
            f"{path} is a file of an unknown kind; --data takes 'digits', a folder, "
            f"or an archive ({', '.join(SUFFIXES)})"
        )
    unpacked = unpack(path, cache=cache)
    try:
        inner = find_root(unpacked) or _single_folder(unpacked)
        dataset = read_folder(inner, name=stem(path))
    except BadDataset as error:  # The user knows the archive, not the cache.
        raise BadDataset(str(error).replace(str(unpacked), str(path))) from error
    return replace(dataset, source=str(path))


def _check_there(path: Path) -> None:
    try:
        is_there = path.exists()
    except PermissionError as error:
        raise BadDataset(
            f"{path} cannot be accessed: {error.strerror}; give this user the right "
            f"to enter the folders above it (chmod a+x)"
        ) from error
    if not is_there:
        raise BadDataset(
            f"no data at {path}; --data takes 'digits', a folder, or an archive "
            f"({', '.join(SUFFIXES)})"
        )


def _single_folder(folder: Path) -> Path:
    """The only folder inside, if there is one, so that errors name it."""
    inner = subfolders(folder)
    return inner[0] if len(inner) == 1 else folder


def _read_folder(
    folder: Path,
    *,
    name: str,
    want_train: bool,
    labels: Path | None,
    splitting: Splitting,
) -> Dataset:
    if is_flagged(folder):
        flagged = _flagged(folder, want_train=want_train)
        return replace(flagged, name=_plain_name(name))
    root = find_root(folder) or folder
    recorded = splitting.recorded
    flat = None
    if not has_parts(root):
        is_by_table = labels or (recorded and recorded.is_by_table)
        flat = folder if is_by_table else find_flat_root(folder)
    if flat is not None:
        root = flat
        dataset = read_flat_folders(
            root, labels=labels, splitting=splitting, want_train=want_train
        )
    else:
        _check_no_split(str(root), labels, splitting)
        read = read_tiny_imagenet if is_tiny_imagenet(root) else read_image_folder
        dataset = read(root, want_train=want_train)
    if not is_tiny_imagenet(root):
        dataset = replace(dataset, name=_plain_name(name))
    notes = [*_notes_about_parts(root, is_flat=flat is not None)]
    if root != folder:
        notes.insert(0, f"the data set is in {root.relative_to(folder)}")
    own_notes = (*notes, *dataset.own_notes)
    return replace(dataset, source=str(folder), own_notes=own_notes)


def _flagged(folder: Path, *, want_train: bool) -> Dataset:
    if want_train:
        raise BadDataset(
            f"{folder} has flagged pictures, which are for compare and --evaluate; to "
            "train on them, sort them into <class>/"
        )
    return read_flagged(folder)


def _notes_about_parts(root: Path, *, is_flat: bool) -> Iterator[str]:
    """Notes where a folder could be a part or a class."""
    if is_flat:
        for name in classes_named_like_parts(root):
            yield f"{name}/ is taken for a class, as others lie beside it"
    elif unclear := folders_beside_a_part(root):
        part, others = unclear
        yield f"{part}/ is taken for a part, so {others} beside it are not read"


def _check_no_split(root: str, labels: Path | None, splitting: Splitting) -> None:
    """Raises BadDataset for flags that are for images without parts."""
    flags = {"--labels": labels is not None, "--part all": splitting.takes_all}
    for flag, is_given in flags.items():
        if is_given:
            raise BadDataset(
                f"{flag} is for images without train/ and val/, which {root} is not; "
                f"leave it out"
            )


def _plain_name(name: str) -> str:
    """A name for models and URLs: letters, digits, '.', '_', '-'."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "images"

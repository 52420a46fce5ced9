"""A folder of class folders: train/<class>/*, val/<class>/*."""

import os
from pathlib import Path

from classifier.data_root import hint_of_parts
from classifier.dataset import BadDataset, Dataset, Part, check_same_classes
from classifier.labels import Labels, unicode_hint
from classifier.listing import (
    IMAGE_SUFFIXES,
    LeftOut,
    Listing,
    class_folders,
    has_images,
    list_images,
    say_kinds,
    say_left_out,
    subfolders,
)
from classifier.text_table import class_names

_WHAT_A_DATA_SET_IS = (
    "a data set is a folder with train/<class>/* and val/<class>/*, Tiny ImageNet's "
    "folder, an archive of either, or 'digits'"
)


def read_image_folder(root: Path, *, want_train: bool) -> Dataset:
    """Class ids are folder names; their names come from words.txt where there is one.

    BadDataset names the folder that is missing or odd.
    """
    val = _read_part(root, "val")
    train = _read_part(root, "train") if want_train else None
    if train is not None:
        check_same_classes(set(train.class_ids), set(val.class_ids), root=root)
    class_ids = (train or val).class_ids
    return Dataset(
        name=root.name,
        source=str(root),
        labels=Labels.from_ids(class_ids, class_names(root, set(class_ids))),
        train=train,
        val=val,
    )


def read_class_folders(
    folder: Path,
    *,
    within: str | None = None,
    without: str | None = None,
    by_path: bool = False,
) -> Part:
    """Images by the class folder that they lie in, at any depth.

    Where a class folder has a folder called `within`, that one alone is read; the one
    called `without` is no class. Images go by their file names; by their paths below
    `folder` where a file name stands twice in the part, or `by_path`.
    """
    class_ids: list[str] = []
    paths: list[str] = []
    left_out = LeftOut()
    for class_folder in class_folders(folder, left_out):
        if class_folder.name == without:
            continue
        images = list_images(_inner(class_folder, within))
        left_out += images.left_out
        _check_class(class_folder.name, images)
        below = images.folder.relative_to(folder).as_posix()
        class_ids += [class_folder.name] * len(images.names)
        paths += [f"{below}/{name}" for name in images.names]
    if not paths:
        found = f" ({say_kinds(left_out)})" if left_out else ""
        raise BadDataset(
            f"{folder} has no class folders{found}; sort images into <class>/"
        )
    names = [path.rpartition("/")[2] for path in paths]
    if by_path or len(set(names)) < len(names):
        names = paths
    notes = say_left_out(left_out, where=f"{folder.name}/")
    if hint := unicode_hint(set(class_ids), set(class_ids)):
        notes = (hint.partition(";")[0], *notes)  # both are there: no renaming alike
    return Part(
        tuple(names),
        tuple(class_ids),
        tuple(folder / path for path in paths),
        notes=notes,
    )


def _inner(folder: Path, name: str | None) -> Path:
    return folder / name if name and os.path.isdir(folder / name) else folder


def _check_class(name: str, images: Listing) -> None:
    if not images.names:
        found = say_kinds(images.left_out)
        raise BadDataset(
            f"class {name!r} has no images in {images.folder}"
            f"{f', which has {found}' if found else ''}; add some "
            f"({', '.join(IMAGE_SUFFIXES)}), or remove the folder"
        )


def _read_part(root: Path, part: str) -> Part:
    folder = root / part
    if not folder.is_dir():
        raise BadDataset(
            f"{folder} is not there; {hint_of_parts(root) or _WHAT_A_DATA_SET_IS}"
        )
    if [inner.name for inner in subfolders(folder)] == ["images"]:
        folder = _check_sorted(folder / "images")
    return read_class_folders(folder)


def _check_sorted(images: Path) -> Path:
    """Tiny ImageNet without its table would pass as one class called `images`."""
    if any(map(has_images, subfolders(images))):
        return images
    raise BadDataset(
        f"{images.parent} has one folder, 'images', and no val_annotations.txt: Tiny "
        f"ImageNet's layout without its labels; put val_annotations.txt back, or sort "
        f"the images into val/<class>/"
    )

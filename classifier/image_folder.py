"""A folder of class folders: train/<class>/*, val/<class>/*."""

import logging
from pathlib import Path

from classifier.dataset import (
    BadDataset,
    Dataset,
    Part,
    check_same_classes,
    class_folders,
    is_image_name,
    listed,
)
from classifier.labels import Labels
from classifier.tiny_imagenet import read_words

logger = logging.getLogger(__name__)


def read_image_folder(root: Path, *, want_train: bool) -> Dataset:
    """Class ids are folder names; their names come from words.txt where there is one.

    BadDataset names the folder that is missing or odd.
    """
    _check_not_unannotated(root)
    val = _read_part(root / "val")
    train = _read_part(root / "train") if want_train else None
    if train is not None:
        check_same_classes(set(train.class_ids), set(val.class_ids), root=root)
    return Dataset(
        name=root.name,
        source=str(root),
        labels=Labels.from_ids((train or val).class_ids, read_words(root)),
        train=train,
        val=val,
    )


def _check_not_unannotated(root: Path) -> None:
    """Tiny ImageNet without its table would pass as one class called `images`."""
    val = root / "val"
    if val.is_dir() and [folder.name for folder in class_folders(val)] == ["images"]:
        raise BadDataset(
            f"{val} has one folder, 'images', and no val_annotations.txt: Tiny "
            f"ImageNet's layout without its labels; put val_annotations.txt back, or "
            f"sort the images into val/<class>/"
        )


def _read_part(folder: Path) -> Part:
    if not folder.is_dir():
        raise BadDataset(
            f"{folder} is not there; a data set is a folder with train/<class>/* and "
            "val/<class>/*, Tiny ImageNet's folder, an archive of either, or 'digits'"
        )
    class_ids: list[str] = []
    files: list[Path] = []
    others: list[Path] = []
    for class_folder in class_folders(folder):
        files_here = sorted(path for path in class_folder.rglob("*") if path.is_file())
        images = [path for path in files_here if is_image_name(path.name)]
        others += [path for path in files_here if not is_image_name(path.name)]
        if not images:
            raise BadDataset(
                f"class {class_folder.name!r} has no images in {class_folder}; "
                "add some, or remove the folder"
            )
        class_ids += [class_folder.name] * len(images)
        files += images
    others = [path for path in others if not path.name.startswith(".")]
    if others:
        logger.warning(
            "left out files=%d of other kinds: %s", len(others), listed(others)
        )
    if not files:
        raise BadDataset(f"{folder} has no class folders; sort images into <class>/")
    return Part(_names(folder, files), tuple(class_ids), tuple(files))


def _names(folder: Path, files: list[Path]) -> tuple[str, ...]:
    """File names, or paths below the part where a file name stands twice in it."""
    names = tuple(path.name for path in files)
    if len(set(names)) == len(names):
        return names
    return tuple(path.relative_to(folder).as_posix() for path in files)

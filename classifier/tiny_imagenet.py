"""Tiny ImageNet's original layout: class folders to train, a table of labels to val."""

from pathlib import Path

from classifier.dataset import (
    BadDataset,
    Dataset,
    Part,
    check_same_classes,
    class_folders,
    image_names,
    listed,
)
from classifier.labels import Labels

ANNOTATIONS = Path("val", "val_annotations.txt")


def is_tiny_imagenet(root: Path) -> bool:
    return (root / ANNOTATIONS).is_file()


def read_tiny_imagenet(root: Path, *, want_train: bool) -> Dataset:
    """BadDataset names the file that is missing or odd."""
    val = _read_val(root)
    train = _read_train(root / "train") if want_train else None
    if train is not None:
        check_same_classes(set(train.class_ids), set(val.class_ids), root=root)
    return Dataset(
        name="tiny-imagenet",
        source=str(root),
        labels=Labels.from_ids((train or val).class_ids, read_words(root)),
        train=train,
        val=val,
    )


def read_words(root: Path) -> dict[str, str]:
    """Class id -> the first of its names in words.txt; empty without that file.

    A line is `n01443537 <tab> goldfish, Carassius auratus`.
    """
    words = root / "words.txt"
    if not words.is_file():
        return {}
    pairs = (
        line.split("\t", 1)
        for line in words.read_text("utf-8", errors="replace").splitlines()
    )
    return {
        pair[0].strip(): pair[1].split(",")[0].strip()
        for pair in pairs
        if len(pair) > 1
    }


def _read_val(root: Path) -> Part:
    names, class_ids = [], []
    table = (root / ANNOTATIONS).read_text("utf-8", errors="replace")
    for number, line in enumerate(table.splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0] or not fields[1]:
            raise BadDataset(
                f"line {number} of {root / ANNOTATIONS} is {line[:80]!r}, not "
                "'image <tab> class id <tab> …'; unpack the archive again"
            )
        names.append(fields[0])
        class_ids.append(fields[1])
    folder = root / "val" / "images"
    _check_annotations(folder, found=set(image_names(folder)), names=names)
    return Part(tuple(names), tuple(class_ids), tuple(folder / name for name in names))


def _check_annotations(folder: Path, *, found: set[str], names: list[str]) -> None:
    if not names:
        raise BadDataset(f"{folder.parent / ANNOTATIONS.name} has no lines")
    if len(set(names)) != len(names):
        raise BadDataset(f"{folder.parent / ANNOTATIONS.name} names an image twice")
    missing = [folder / name for name in names if name not in found]
    if missing:
        raise BadDataset(
            f"{len(missing):,} of the {len(names):,} images of "
            f"{folder.parent / ANNOTATIONS.name} are not there: {listed(missing)}; "
            "unpack the archive again"
        )
    extra = sorted(folder / name for name in found.difference(names))
    if extra:
        raise BadDataset(
            f"{len(extra):,} images have no line in "
            f"{folder.parent / ANNOTATIONS.name}: {listed(extra)}; remove them or add "
            f"their lines"
        )


def _read_train(folder: Path) -> Part:
    if not folder.is_dir():
        raise BadDataset(
            f"{folder} is not there; training needs train/<class>/images/*.JPEG"
        )
    names, class_ids, files = [], [], []
    for class_folder in class_folders(folder):
        images = class_folder / "images"
        found = image_names(images)
        if not found:
            raise BadDataset(
                f"class {class_folder.name!r} has no images in {images}; "
                f"unpack the archive again, or remove the folder"
            )
        names += [f"{class_folder.name}/images/{name}" for name in found]
        class_ids += [class_folder.name] * len(found)
        files += [images / name for name in found]
    if not files:
        raise BadDataset(f"{folder} has no class folders; unpack the archive again")
    return Part(tuple(names), tuple(class_ids), tuple(files))

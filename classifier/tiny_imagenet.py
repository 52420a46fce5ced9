"""Tiny ImageNet's original layout: class folders to train, a table of labels to val."""

import os
from dataclasses import replace
from pathlib import Path

from classifier.data_root import TABLE
from classifier.dataset import BadDataset, Dataset, Part, check_same_classes
from classifier.image_folder import read_class_folders
from classifier.labels import Labels, unicode_hint
from classifier.listing import (
    Listing,
    has_images,
    list_images,
    say_left_out,
    some,
    subfolders,
)
from classifier.text_table import class_names, table_lines

ANNOTATIONS = Path("val", TABLE)


def is_tiny_imagenet(root: Path) -> bool:
    return os.path.isfile(root / ANNOTATIONS)


def read_tiny_imagenet(root: Path, *, want_train: bool) -> Dataset:
    """BadDataset names the file that is missing or odd."""
    val = _read_val(root / "val")
    train = _read_train(root / "train") if want_train else None
    if train is not None:
        check_same_classes(set(train.class_ids), set(val.class_ids), root=root)
    class_ids = (train or val).class_ids
    return Dataset(
        name="tiny-imagenet",
        source=str(root),
        labels=Labels.from_ids(class_ids, class_names(root, set(class_ids))),
        train=train,
        val=val,
    )


def _read_val(folder: Path) -> Part:
    """Classes are the table's, or the folders that the images have been sorted into."""
    listing = list_images(folder / "images")
    is_flat = any("/" not in name for name in listing.names)
    sorted_into = _sorted_into(folder)
    if not sorted_into:
        return _by_table(folder, listing)
    if not is_flat and len(sorted_into) == 1:
        part = read_class_folders(sorted_into[0], without="images")
        note = f"{TABLE} is not read: the images have been sorted into class folders"
        return replace(part, notes=(note, *part.notes))
    try:
        part = _by_table(folder, listing)
    except BadDataset as error:
        raise BadDataset(
            f"{folder} is half sorted, as images lie in {folder / 'images'} and in "
            f"class folders of {some(sorted_into)}: {error}"
        ) from error
    note = f"class folders in {folder.name}/ are not read: {TABLE} names all images"
    return replace(part, notes=(note, *part.notes))


def _sorted_into(folder: Path) -> list[Path]:
    """Folders, `folder` or `images` in it, that have class folders with images."""
    images = folder / "images"
    return [
        parent
        for parent in (folder, images)
        if parent.is_dir()
        and any(has_images(inner) for inner in subfolders(parent) if inner != images)
    ]


def _by_table(folder: Path, listing: Listing) -> Part:
    table = folder / TABLE
    class_of = _read_table(table)
    flat = {name for name in listing.names if "/" not in name}
    missing = [name for name in class_of if name not in flat]
    if missing:
        raise BadDataset(
            f"{len(missing):,} of the {len(class_of):,} images of {table} are not "
            f"there: {some(listing.folder / name for name in missing)}; "
            f"{unicode_hint(missing, flat) or 'unpack the archive again'}"
        )
    extra = sorted(listing.folder / name for name in flat.difference(class_of))
    if extra:
        raise BadDataset(
            f"{len(extra):,} images have no line in {table}: {some(extra)}; remove "
            f"them or add their lines"
        )
    return Part(
        tuple(class_of),
        tuple(class_of.values()),
        tuple(listing.folder / name for name in class_of),
        notes=say_left_out(listing.left_out, where=f"{folder.name}/images/"),
    )


def _read_table(table: Path) -> dict[str, str]:
    """Image name -> class id, in the table's order."""
    class_of: dict[str, str] = {}
    for number, line in table_lines(table):
        fields = [part.strip() for part in line.split("\t" if "\t" in line else None)]
        if len(fields) < 2 or not fields[0] or not fields[1]:
            raise BadDataset(
                f"line {number} of {table} is {line[:80]!r}, not 'image <tab> class id "
                f"<tab> …'; unpack the archive again"
            )
        if fields[0] in class_of:
            raise BadDataset(f"{table} names the image {fields[0]!r} twice")
        class_of[fields[0]] = fields[1]
    if not class_of:
        raise BadDataset(f"{table} has no lines")
    return class_of


def _read_train(folder: Path) -> Part:
    if not folder.is_dir():
        raise BadDataset(
            f"{folder} is not there; training needs train/<class>/images/*.JPEG"
        )
    return read_class_folders(folder, within="images", by_path=True)

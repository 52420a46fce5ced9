"""Layouts of data sets: class folders, and Tiny ImageNet's table of labels."""

import codecs
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

from classifier.bundle.labels import Labels, unicode_hint
from classifier.datasets.dataset import BadDataset, Dataset, Part, check_same_classes
from classifier.datasets.listing import (
    IMAGE_SUFFIXES,
    LeftOut,
    Listing,
    class_folders,
    describe_kinds,
    describe_left_out,
    first_few,
    has_images,
    list_images,
    subfolders,
)
from classifier.datasets.parts import TABLE, hint_of_an_unclear_part, hint_of_parts


def class_names(root: Path, class_ids: Iterable[str]) -> Mapping[str, str]:
    """Class id -> the first of its names in words.txt; empty without that file.

    A line is `n01443537 <tab> goldfish, Carassius auratus`. Ids that differ only by
    their Unicode form match.
    """
    words = root / "words.txt"
    if not words.is_file():
        return {}
    pairs = (first_field(line) for _, line in table_lines(words))
    name_of = {
        normalize("NFC", class_id): names.split(",")[0].strip()
        for class_id, names in pairs
        if names
    }
    known = ((class_id, normalize("NFC", class_id)) for class_id in class_ids)
    return {class_id: name_of[key] for class_id, key in known if key in name_of}


def table_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Numbers (from 1) and texts of the lines that are not blank.

    Reads UTF-8 with or without a byte order mark, UTF-16 with one, and lines in the
    Latin alphabet of Windows.
    """
    try:
        data = file.read_bytes()
    except PermissionError as error:
        raise BadDataset(
            f"{file} cannot be read: {error.strerror}; give this user the right to "
            f"read it (chmod u+r)"
        ) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", errors="replace").encode()
    # bytes.splitlines() splits at \n, \r and \r\n; str.splitlines() at U+0085 too.
    lines = data.removeprefix(codecs.BOM_UTF8).splitlines()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _decoded(line)


def first_field(line: str) -> tuple[str, str]:
    """Split the line at its first tab, or without one at its first blank."""
    first, _, rest = line.strip().partition("\t" if "\t" in line else " ")
    return first.strip(), rest.strip()


def _decoded(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")


_WHAT_A_DATA_SET_IS = (
    "a data set is a folder with train/<class>/* and val/<class>/*, one with <class>/* "
    "of two classes or more, Tiny ImageNet's folder, an archive of these, or 'digits'"
)


def read_image_folder(root: Path, *, want_train: bool) -> Dataset:
    """Class ids are folder names; class names come from words.txt if there is one.

    Raises BadDataset with the folder that is absent or odd.
    """
    val = _read_part(root, "val")
    train = _read_part(root, "train") if want_train else None
    return _dataset(root, root.name, train, val)


def _dataset(root: Path, name: str, train: Part | None, val: Part) -> Dataset:
    if train is not None:
        check_same_classes(set(train.class_ids), set(val.class_ids), root=root)
    class_ids = (train or val).class_ids
    return Dataset(
        name=name,
        source=str(root),
        labels=Labels.from_ids(class_ids, class_names(root, set(class_ids))),
        train=train,
        val=val,
    )


def read_class_folders(
    folder: Path,
    *,
    within: str = "",
    without: str | None = None,
    by_path: bool = False,
) -> Part:
    """Images of each class folder, at any depth.

    If a class folder has a folder called `within`, only that is read. The folder called
    `without` is no class. An image's name is its file name; or its path below `folder`
    if `by_path` is set or two images have one file name.
    """
    class_ids: list[str] = []
    paths: list[str] = []
    left_out = LeftOut()
    for class_folder in class_folders(folder, left_out):
        if class_folder.name == without:
            continue
        inner = class_folder / within
        images = list_images(inner if os.path.isdir(inner) else class_folder)
        left_out += images.left_out
        _check_class(class_folder.name, images)
        below = images.folder.relative_to(folder).as_posix()
        class_ids += [class_folder.name] * len(images.names)
        paths += [f"{below}/{name}" for name in images.names]
    if not paths:
        found = f" ({describe_kinds(left_out)})" if left_out else ""
        raise BadDataset(
            f"{folder} has no class folders{found}; sort images into <class>/"
        )
    names = [path.rpartition("/")[2] for path in paths]
    if by_path or len(set(names)) < len(names):
        names = paths
    notes = describe_left_out(left_out, where=f"{folder.name}/")
    if hint := unicode_hint(set(class_ids), set(class_ids)):
        # Without the remedy: both folders exist, so neither can take the other's name.
        notes = (hint.partition(";")[0], *notes)
    return Part(
        tuple(names),
        tuple(class_ids),
        tuple(folder / path for path in paths),
        notes=notes,
    )


def _check_class(name: str, images: Listing) -> None:
    if not images.names:
        found = describe_kinds(images.left_out)
        raise BadDataset(
            f"class {name!r} has no images in {images.folder}"
            f"{f', which has {found}' if found else ''}; add some "
            f"({', '.join(IMAGE_SUFFIXES)}), or remove the folder"
        )


def _read_part(root: Path, part: str) -> Part:
    folder = root / part
    if not folder.is_dir():
        hint = hint_of_parts(root) or hint_of_an_unclear_part(root)
        if not hint and os.path.isdir(root / "train"):
            hint = f"name {root / 'train'} with --data, and it is split by itself"
        raise BadDataset(f"{folder} is not there; {hint or _WHAT_A_DATA_SET_IS}")
    if [inner.name for inner in subfolders(folder)] == ["images"]:
        folder = _check_sorted(folder / "images")
    return read_class_folders(folder)


def _check_sorted(images: Path) -> Path:
    """Raises BadDataset for Tiny ImageNet's images without their table.

    They would pass as one class called `images`.
    """
    if any(map(has_images, subfolders(images))):
        return images
    raise BadDataset(
        f"{images.parent} has one folder, 'images', and no val_annotations.txt: Tiny "
        f"ImageNet's layout without its labels; put val_annotations.txt back, or sort "
        f"the images into val/<class>/"
    )


ANNOTATIONS = Path("val", TABLE)


def is_tiny_imagenet(root: Path) -> bool:
    return os.path.isfile(root / ANNOTATIONS)


def read_tiny_imagenet(root: Path, *, want_train: bool) -> Dataset:
    """Raises BadDataset with the file that is absent or odd."""
    val = _read_val(root / "val")
    train = _read_train(root / "train") if want_train else None
    return _dataset(root, "tiny-imagenet", train, val)


def _read_val(folder: Path) -> Part:
    """Classes come from the table, or from folders that the user sorted images into."""
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
            f"class folders of {first_few(sorted_into)}: {error}"
        ) from error
    note = f"class folders in {folder.name}/ are not read: {TABLE} names all images"
    return replace(part, notes=(note, *part.notes))


def _sorted_into(folder: Path) -> list[Path]:
    """Which of `folder` and its `images` have class folders with images."""
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
            f"there: {first_few(listing.folder / name for name in missing)}; "
            f"{unicode_hint(missing, flat) or 'unpack the archive again'}"
        )
    extra = sorted(listing.folder / name for name in flat.difference(class_of))
    if extra:
        raise BadDataset(
            f"{len(extra):,} images have no line in {table}: {first_few(extra)}; "
            f"remove them or add their lines"
        )
    return Part(
        tuple(class_of),
        tuple(class_of.values()),
        tuple(listing.folder / name for name in class_of),
        notes=describe_left_out(listing.left_out, where=f"{folder.name}/images/"),
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

"""Images without parts: class folders, or one folder and a table of labels."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from classifier.bundle.labels import Labels, unicode_hint
from classifier.datasets.dataset import BadDataset, Dataset, Part
from classifier.datasets.layouts import (
    class_names,
    read_class_folders,
    table_lines,
)
from classifier.datasets.listing import (
    Listing,
    check_names,
    describe_left_out,
    first_few,
    is_companion,
    list_images,
    subfolders,
)
from classifier.datasets.split import (
    Side,
    Split,
    Splitting,
    file_digests,
    split_by_hash,
)

HEADER = ("file", "label")
START_AGAIN = "put its images back, or start a new run"


def read_flat_folders(
    root: Path, *, labels: Path | None, splitting: Splitting, want_train: bool
) -> Dataset:
    """The images below `root`, split by the hash of their bytes, or as recorded.

    Classes are the folders in `root`, or those of the table `labels`. An image's name
    is its path below `root`. Raises BadDataset, and says what is absent or odd.
    """
    recorded = splitting.recorded
    if labels is not None:
        root, part = _by_table(root, labels.expanduser().absolute())
    elif recorded is not None and recorded.is_by_table:
        root, part = _all_images(root, recorded)
    else:
        part = read_class_folders(root, by_path=True)
    digests = file_digests(part)
    if recorded is not None and not part.class_ids[0]:
        part = _by_record(part, digests, recorded)
    split: Split | None = None
    notes: list[str] = []
    if recorded is None and splitting.val_fraction is not None:
        split = split_by_hash(part, digests, val_fraction=splitting.val_fraction)
        sides: list[Side | None] = [entry.side for entry in split.entries]
    elif splitting.takes_all and not want_train:
        sides = ["val"] * len(part)
        notes = _notes_about_all(part, digests, recorded)
    else:
        sides, notes = _as_recorded(part, digests, splitting, root=root)
        split = recorded if splitting.is_gone_on_with else None
    train, val = (_on_side(part, sides, side) for side in ("train", "val"))
    ids = (*train.class_ids, *val.class_ids)
    return Dataset(
        name=root.name,
        source=str(root),
        labels=Labels.from_ids(ids, class_names(root, set(ids))),
        train=train if want_train else None,
        val=val,
        own_notes=(*notes, *_copies_in_classes(part, digests), *part.notes),
        split=None if split is None else split.csv(),
    )


def _on_side(part: Part, sides: Sequence[str | None], side: str) -> Part:
    own = part.subset(place for place, at in enumerate(sides) if at == side)
    return replace(own, notes=())


def _as_recorded(
    part: Part, digests: Sequence[str], splitting: Splitting, *, root: Path
) -> tuple[list[Side | None], list[str]]:
    """The side of each file, and notes.

    Files that the record does not know are counted and left out; or they are for
    training, if all are taken. Raises BadDataset if no validation image is there.
    """
    if splitting.recorded is None:
        raise BadDataset(
            f"{root} has no train/ and val/, and the version's run recorded no split; "
            f"--part all takes all images, for --evaluate and compare"
        )
    known = splitting.recorded.side_of
    sides = [known.get(digest) for digest in digests]
    if goes_on := splitting.is_gone_on_with:  # where copies are other images
        of_file = splitting.recorded.side_of_file
        sides = [of_file.get(file) for file in zip(part.names, digests, strict=True)]
    if "val" not in sides:
        remedy = (
            "name the images that it was trained on with --data, or take all of these "
            "with --part all"
        )
        raise BadDataset(
            f"none of the {len(digests):,} images of {root} is a validation image of "
            f"the version's run; {START_AGAIN if goes_on else remedy}"
        )
    notes = []
    if splitting.takes_all:
        sides = [side or "train" for side in sides]
    elif unknown := sides.count(None):
        notes.append(
            f"left out {unknown:,} file{'s' if unknown > 1 else ''} that the recorded "
            f"split does not know; "
            f"{'a new run' if goes_on else '--part all'} takes them"
        )
    val = {digest for digest, side in known.items() if side == "val"}
    if missing := val.difference(digests):
        notes.append(
            f"{len(missing):,} validation images of the recorded split are not there"
        )
    return sides, notes


def _notes_about_all(
    part: Part, digests: Sequence[str], recorded: Split | None
) -> list[str]:
    """Raises BadDataset if images have no class."""
    if unlabelled := part.class_ids.count(""):
        raise BadDataset(
            f"{unlabelled:,} images have no class, as the version's run took its "
            f"classes from a table; name a table of all images with --labels"
        )
    if recorded is None:
        return []
    known = recorded.side_of
    learned = [known.get(digest) for digest in digests].count("train")
    return [
        f"all {len(part):,} images are taken; the version was trained on "
        f"{learned:,} of them, which flatters it"
    ]


def _copies_in_classes(part: Part, digests: Sequence[str]) -> tuple[str, ...]:
    """A note about files that lie in several classes: one of their labels is wrong."""
    classes: dict[str, set[str]] = {}
    for digest, class_id in zip(digests, part.class_ids, strict=True):
        if digest:
            classes.setdefault(digest, set()).add(class_id)
    count = sum(len(ids) > 1 for ids in classes.values())
    return (f"{count:,} images lie in several classes",) if count else ()


def _all_images(folder: Path, recorded: Split) -> tuple[Path, Part]:
    """All images, without their classes, below the folder that the names begin at.

    Raises BadDataset if there are none.
    """
    names = {entry.name for entry in recorded.entries}
    listings = [list_images(root, ignoring=is_companion) for root in _roots(folder)]
    if not listings[0].names:
        raise BadDataset(f"{folder} has no images; name their folder with --data")
    known = (listing for listing in listings if names & set(listing.names))
    listing = next(known, listings[0])
    return listing.folder, _part(listing, listing.names, [""] * len(listing.names))


def _roots(folder: Path) -> tuple[Path, ...]:
    """`folder`, and the folder in it if it is the only one, as in an archive."""
    inner = subfolders(folder)
    return (folder, *(inner if len(inner) == 1 else ()))


def _by_record(part: Part, digests: Sequence[str], recorded: Split) -> Part:
    """Classes as the run had them; empty for images that it did not know."""
    class_of = recorded.class_of
    return replace(part, class_ids=tuple(class_of.get(d, "") for d in digests))


def _by_table(folder: Path, table: Path) -> tuple[Path, Part]:
    """The folder below which the files of the table are, and its images with classes.

    Paths in the table begin there or at the table's own folder.
    """
    class_of = _read_labels(table)
    for root in _roots(folder):
        listing = list_images(root, ignoring=partial(_is_table_or_text, root, table))
        there = set(listing.names)
        for start in ("", _between(table.parent, root)):
            found = {
                _as_listed(name, start, there): class_id
                for name, class_id in class_of.items()
            }
            if there & found.keys():
                return root, _labelled(listing, found, table)
    raise BadDataset(
        f"none of the {len(class_of):,} files of {table} is an image below {folder}; "
        f"its column 'file' must have paths below that folder, such as "
        f"{_example(folder)}"
    )


def _as_listed(name: str, start: str, there: Collection[str]) -> str:
    """The name below the root; one with backslashes is of Windows, unless it is there.

    `start` is the root's own path as seen from the table.
    """
    below_root = name.removeprefix(start)
    if below_root in there:
        return below_root
    return name.replace("\\", "/").removeprefix("./").removeprefix(start)


def _is_table_or_text(root: Path, table: Path, name: str) -> bool:
    return is_companion(name) or root / name == table


def _labelled(listing: Listing, class_of: dict[str, str], table: Path) -> Part:
    missing = sorted(class_of.keys() - set(listing.names))
    if missing:
        remedy = "put them there, or remove their lines"
        raise BadDataset(
            f"{len(missing):,} of the {len(class_of):,} files of {table} are no images "
            f"in {listing.folder}: {first_few(Path(name) for name in missing)}; "
            f"{unicode_hint(missing, listing.names) or remedy}"
        )
    names = tuple(name for name in listing.names if name in class_of)
    part = _part(listing, names, [class_of[name] for name in names])
    extra = len(listing.names) - len(names)
    if not extra:
        return part
    return replace(
        part,
        notes=(
            *part.notes,
            f"left out {extra:,} image{'s' if extra > 1 else ''} without a line in "
            f"{table}",
        ),
    )


def _part(listing: Listing, names: Sequence[str], class_ids: Sequence[str]) -> Part:
    return Part(
        tuple(names),
        tuple(class_ids),
        tuple(listing.folder / name for name in names),
        notes=describe_left_out(listing.left_out, where=f"{listing.folder.name}/"),
    )


def _between(start: Path, root: Path) -> str:
    """`photos/` for a table beside the folder photos; empty if it is elsewhere."""
    return f"{root.relative_to(start)}/" if start in root.parents else ""


def _example(folder: Path) -> str:
    names = list_images(folder).names
    return repr(names[0]) if names else "'a/1.jpg', and it has no images"


def _read_labels(table: Path) -> dict[str, str]:
    """File -> class id. Columns are found by name; others are not read."""
    if not table.is_file():
        raise BadDataset(f"there is no file {table}; --labels names a table file,label")
    lines = list(table_lines(table))
    header = lines[0][1] if lines else ""
    delimiter = max(",;\t", key=header.count)
    (names,) = csv.reader([header], delimiter=delimiter)
    columns = [name.strip().lower() for name in names]
    if any(columns.count(name) != 1 for name in HEADER):
        raise BadDataset(
            f"the first line of {table} is {header[:80]!r}; it must name the columns "
            f"'file' and 'label', each once, such as: file,label"
        )
    file_at, label_at = (columns.index(name) for name in HEADER)
    class_of: dict[str, str] = {}
    rows = csv.reader((line for _, line in lines[1:]), delimiter=delimiter)
    for row in rows:
        name, label = (
            ("", "")
            if len(row) < len(columns)
            else (
                row[file_at].strip().removeprefix("./"),
                row[label_at].strip(),
            )
        )
        if not name or not label or class_of.get(name, label) != label:
            fault = f"a second label of {name!r}" if name and label else "no file,label"
            raise BadDataset(
                f"line {lines[rows.line_num][0]} of {table} has {fault}: "
                f"{delimiter.join(row)[:80]!r}; correct it, or remove it"
            )
        class_of[name] = label
    check_names(table, class_of.values())
    return class_of

"""Flagged pictures: a folder in which a service keeps what people marked on its page.

`0a1b….jpg` is a picture as it came, named by the hash of its bytes. `0a1b….json` beside
it has its true class, if somebody named it, and the answers of the versions.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.bundle.labels import Labels
from classifier.console.exits import NotNow
from classifier.datasets.dataset import BadDataset, Dataset, Part
from classifier.images.decoding_cost import format_of
from classifier.storage import atomic_write, locked, make_folder, megabytes, write_json

MARKER = "flagged.json"
"""The file by which a folder of flagged pictures is known."""

MOST_PICTURES = 1000
MOST_BYTES = 500_000_000

HASH_LETTERS = 20


PICKED = "people picked these pictures, so no share here holds for other images"
"""A note for every report."""


class FlaggedFull(NotNow, RuntimeError):
    """The folder has as many pictures, or bytes, as it may have."""


def make_flagged_folder(folder: Path) -> None:
    """Raises BadPlace or NotWritable."""
    make_folder(folder, flag="--flagged")
    with locked(folder):
        if not (folder / MARKER).is_file():
            write_json(folder / MARKER, {"schema": 1})


def keep_flagged(
    folder: Path, image: bytes, note: Mapping[str, Any]
) -> tuple[str, int]:
    """Keep a picture and its note; return its name, and how many pictures are there.

    A picture that is there gets the new note. Raises FlaggedFull or NotWritable.
    """
    stem = hashlib.sha256(image).hexdigest()[:HASH_LETTERS]
    name = f"{stem}.{format_of(image) or 'image'}".lower()
    with locked(folder):
        count = _check_room(folder, stem, len(image))
        with atomic_write(folder / name) as partial:
            partial.write_bytes(image)
        # Last: a picture without its note does not count.
        write_json(folder / f"{stem}.json", {"image": name, **note})
    return name, count


def _check_room(folder: Path, stem: str, size: int) -> int:
    """The number of pictures with the new one."""
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    notes = {name for name in sizes if name.endswith(".json")} - {MARKER}
    count, total = len(notes | {f"{stem}.json"}), sum(sizes.values()) + size
    if count > MOST_PICTURES or total > MOST_BYTES:
        raise FlaggedFull(
            f"{len(notes):,} pictures of {megabytes(total - size)} are kept, and the "
            f"limit is {MOST_PICTURES:,} and {megabytes(MOST_BYTES)}; the operator may "
            "move them to another folder"
        )
    return count


def is_flagged(folder: Path) -> bool:
    return (folder / MARKER).is_file()


@dataclass(frozen=True)
class _Picture:
    name: str
    class_id: str | None
    class_name: str


def read_flagged(folder: Path) -> Dataset:
    """The pictures whose true class is known, as the validation part.

    Raises BadDataset if there are none.
    """
    pictures = _read_notes(folder)
    known = [picture for picture in pictures if picture.class_id is not None]
    if not known:
        raise BadDataset(
            f"none of the {len(pictures):,} flagged pictures in {folder} has a true "
            "class; compare takes them without"
        )
    class_ids = tuple(str(picture.class_id) for picture in known)
    names = {str(picture.class_id): picture.class_name for picture in known}
    part = Part(
        tuple(picture.name for picture in known),
        class_ids,
        tuple(folder / picture.name for picture in known),
    )
    others = len(pictures) - len(known)
    left_out = (
        f"left out {others:,} flagged pictures without a true class; --part all takes "
        "all, without classes"
    )
    return Dataset(
        name=folder.name,
        source=str(folder),
        labels=Labels.from_ids(class_ids, names),
        val=part,
        train=None,
        own_notes=(PICKED, left_out) if others else (PICKED,),
    )


def has_true_classes(folder: Path) -> bool:
    """Raises BadDataset if there are no flagged pictures."""
    pictures = _read_notes(folder)
    if not pictures:
        raise BadDataset(
            f"{folder} has no flagged pictures yet; mark some on the service's page"
        )
    return any(picture.class_id is not None for picture in pictures)


def _read_notes(folder: Path) -> list[_Picture]:
    """The pictures by name, without those that were deleted."""
    files = sorted(file for file in folder.glob("*.json") if file.name != MARKER)
    pictures = map(_read_note, files)
    return [picture for picture in pictures if (folder / picture.name).is_file()]


def _read_note(file: Path) -> _Picture:
    try:
        note = json.loads(file.read_text("utf-8"))
        name, truth = note["image"], note["truth"]
        if name.partition(".")[0] != file.stem or "/" in name:
            raise ValueError
        if truth is None:
            return _Picture(name, None, "")
        return _Picture(name, str(truth["id"]), str(truth["name"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadDataset(
            f"{file} is no note of a flagged picture; remove it, and its picture"
        ) from error

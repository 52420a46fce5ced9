"""A data set: its labels and the listed images of its training and validation part."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from classifier.labels import Labels

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


class BadDataset(ValueError):
    """A data set that cannot be used as it is; says which file and what to do."""


@dataclass(frozen=True)
class Part:
    """The images of one part, listed but not read; the three tuples run in parallel."""

    names: tuple[str, ...]
    """What an image is called in answers, reports and the digest."""

    class_ids: tuple[str, ...]
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.names)

    def first_per_class(self, count: int) -> "Part":
        """The first `count` images of each class, in sorted order of their names."""
        seen: Counter[str] = Counter()
        kept = []
        for position in sorted(range(len(self)), key=self.names.__getitem__):
            seen[self.class_ids[position]] += 1
            if seen[self.class_ids[position]] <= count:
                kept.append(position)
        return self.subset(sorted(kept))

    def subset(self, positions: Iterable[int]) -> "Part":
        positions = list(positions)
        return Part(
            names=tuple(self.names[p] for p in positions),
            class_ids=tuple(self.class_ids[p] for p in positions),
            files=tuple(self.files[p] for p in positions),
        )


@dataclass(frozen=True)
class Dataset:
    """What `--data` names."""

    name: str
    """Short, as registered models are called by it: `tiny-imagenet`."""

    source: str
    """What a user typed to get it, as an absolute path, or `digits`."""

    labels: Labels
    val: Part
    train: Part | None
    """None where the folder has none; comparing and evaluating need only `val`."""

    mirrored_is_same_class: bool = True
    """False where a mirrored image is another thing (a mirrored 2 is no 2)."""


def dataset_digest(
    names: Iterable[str], class_ids: Iterable[str], file_sha256s: Iterable[str]
) -> str:
    """sha256, in hex, over the sorted lines `name <tab> class id <tab> file's sha256`.

    It depends on what the images are, not on where they lie or how they are listed.
    """
    lines = sorted(
        f"{name}\t{class_id}\t{sha256}"
        for name, class_id, sha256 in zip(names, class_ids, file_sha256s, strict=True)
    )
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def part_digest(part: Part) -> str:
    """dataset_digest() of the files as they lie; reads all of them."""
    sha256s = (hashlib.sha256(file.read_bytes()).hexdigest() for file in part.files)
    return dataset_digest(part.names, part.class_ids, sha256s)


def is_image_name(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def image_names(folder: Path) -> list[str]:
    """The names of the images in a folder, sorted; none where there is no folder.

    Not Path.glob and sorted paths: those take 1.9 s for Tiny ImageNet, this a third.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if is_image_name(name))


def listed(paths: Iterable[Path], *, limit: int = 3) -> str:
    """The first few paths, and how many more, for a message."""
    paths = list(paths)
    shown = ", ".join(str(path) for path in paths[:limit])
    return shown if len(paths) <= limit else f"{shown} and {len(paths) - limit:,} more"


def class_folders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name[0] != "." and path.name != "__MACOSX"
    )


def check_same_classes(train: set[str], val: set[str], *, root: Path) -> None:
    """BadDataset where a class has no images in one of the parts."""
    for part, only in (("train", train - val), ("val", val - train)):
        if only:
            raise BadDataset(
                f"{len(only)} classes are in {part}/ alone "
                f"({', '.join(sorted(only)[:5])}{', …' if len(only) > 5 else ''}); "
                f"train/ and val/ of {root} must have the same classes"
            )

"""A data set: its labels and the listed images of its training and validation part."""

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from classifier.bundle.labels import Labels, unicode_hint
from classifier.console.exits import WrongUsage

UNREADABLE = frozenset(
    {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM}
)
"""Errors that concern one file. Others, such as ESTALE, concern the machine."""


class BadDataset(WrongUsage, ValueError):
    """A data set cannot be used as it is; the message has the file and the remedy."""


class UnreadableImage(ValueError):
    """A listed file cannot be read, for example a dead link."""


@dataclass(frozen=True)
class Part:
    """The images of one part, listed but not read; the three tuples run in parallel."""

    names: tuple[str, ...]
    """Names of the images in answers, reports and the digest."""

    class_ids: tuple[str, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    """Remarks about the listing, such as what it left out; without full stops."""

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
        return replace(
            self,
            names=tuple(self.names[p] for p in positions),
            class_ids=tuple(self.class_ids[p] for p in positions),
            files=tuple(self.files[p] for p in positions),
        )


@dataclass(frozen=True)
class Dataset:
    """The data that `--data` names."""

    name: str
    """Short, because it is part of model names: `tiny-imagenet`."""

    source: str
    """The path that a user typed, made absolute, or `digits`."""

    labels: Labels
    val: Part
    train: Part | None
    """None if it was not asked for; comparing and evaluating need only `val`."""

    mirrored_is_same_class: bool = True
    """False if mirroring changes the class (a mirrored 2 is no 2)."""

    own_notes: tuple[str, ...] = ()

    split: str | None = None
    """split.csv of the run that trains on it, if the data has no parts of its own."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks about both parts and their tables; without full stops."""
        train = self.train.notes if self.train else ()
        return (*self.own_notes, *train, *self.val.notes)


def dataset_digest(
    names: Iterable[str], class_ids: Iterable[str], file_sha256s: Iterable[str]
) -> str:
    """sha256, in hex, over the sorted lines `name <tab> class id <tab> file's sha256`.

    The digest depends on the images, not on their folder or order.
    """
    lines = sorted(
        f"{name}\t{class_id}\t{sha256}"
        for name, class_id, sha256 in zip(names, class_ids, file_sha256s, strict=True)
    )
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def part_digest(part: Part) -> str:
    """dataset_digest() of a part; reads all its files."""
    sha256s = (file_sha256(file) for file in part.files)
    return dataset_digest(part.names, part.class_ids, sha256s)


def file_sha256(file: Path) -> str:
    """The digest in hex, or empty if the file cannot be read."""
    try:
        return hashlib.sha256(read_image(file)).hexdigest()
    except UnreadableImage:
        return ""


def read_image(file: Path) -> bytes:
    """Raises UnreadableImage if this file is the cause, else OSError."""
    try:
        return file.read_bytes()
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        raise UnreadableImage(_why_unreadable(file, error)) from error


def _why_unreadable(file: Path, error: OSError) -> str:
    if file.is_symlink() and not os.path.exists(file):
        return f"a link to {os.readlink(file)!r}, which does not exist"
    return f"it cannot be read: {error.strerror}"


def check_same_classes(train: set[str], val: set[str], *, root: Path) -> None:
    """Raises BadDataset if a class has images in only one part."""
    hint = unicode_hint(train - val, val - train)
    for part, only in (("train", train - val), ("val", val - train)):
        if only:
            count = f"{len(only)} class{'es are' if len(only) > 1 else ' is'}"
            raise BadDataset(
                f"{count} only in {part}/ "
                f"({', '.join(sorted(only)[:5])}{', …' if len(only) > 5 else ''}); "
                f"{hint or f'train/ and val/ of {root} must have the same classes'}"
            )

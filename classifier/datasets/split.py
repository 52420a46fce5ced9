"""The split of images without parts: by the hash of each file, as a run records it."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from classifier.console.progress import progress_bar
from classifier.datasets.dataset import BadDataset, Part, file_sha256
from classifier.hardware import usable_cores

SPLIT = "split.csv"
"""The file of a run with its split."""

COLUMNS = ("file", "label", "part", "sha256")

Side = Literal["train", "val"]


@dataclass(frozen=True)
class Entry:
    """One image of a split."""

    name: str
    class_id: str
    side: Side
    sha256: str
    """Empty where the file could not be read."""


@dataclass(frozen=True)
class Split:
    """Which images a run trained on, and which it was measured with.

    An image is known by its bytes, so it may be renamed.
    """

    entries: tuple[Entry, ...]

    def csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((e.name, e.class_id, e.side, e.sha256) for e in self.entries)
        return text.getvalue()

    @property
    def side_of(self) -> Mapping[str, Side]:
        """The side of each digest. An image that was ever trained on is for training.

        The splits of two versions so make one, with the entries of both.
        """
        sides: dict[str, Side] = {}
        for entry in self.entries:
            if entry.sha256 and sides.get(entry.sha256) != "train":
                sides[entry.sha256] = entry.side
        return sides

    @property
    def side_of_file(self) -> Mapping[tuple[str, str], Side]:
        """The side of each file of the run itself, by name and digest."""
        return {(entry.name, entry.sha256): entry.side for entry in self.entries}

    @property
    def class_of(self) -> Mapping[str, str]:
        """Class ids by digest."""
        return {entry.sha256: entry.class_id for entry in self.entries if entry.sha256}

    @property
    def is_by_table(self) -> bool:
        """Whether the classes came from a table instead of from folders."""
        return any(e.name.partition("/")[0] != e.class_id for e in self.entries)


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """How images without parts are split; other data sets have their own parts."""

    val_fraction: float | None = None
    """Share for validation if there is no recorded split; None splits nothing."""

    recorded: Split | None = None
    """With a `val_fraction`, that of the run itself, which is gone on with."""

    takes_all: bool = False
    """Whether all images are taken: for validation, or for training if the training
    part is wanted and they are no validation images."""

    @property
    def is_gone_on_with(self) -> bool:
        return self.recorded is not None and self.val_fraction is not None


AS_RECORDED = Splitting()


def read_split(text: str | None) -> Split | None:
    """The split that a run recorded; None if it recorded none.

    Raises BadDataset if the text is no such table.
    """
    if text is None:
        return None
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or tuple(rows[0]) != COLUMNS or any(map(_is_odd, rows[1:])):
        raise BadDataset(
            f"the run's {SPLIT} is damaged: it must have the columns "
            f"{','.join(COLUMNS)}; put it back, or take all images with --part all"
        )
    return Split(
        tuple(
            Entry(name, class_id, "val" if side == "val" else "train", sha256)
            for name, class_id, side, sha256 in rows[1:]
        )
    )


def _is_odd(row: list[str]) -> bool:
    return len(row) != len(COLUMNS) or row[2] not in ("train", "val")


def merged(splits: Iterable[Split | None]) -> Split | None:
    """One split of all the entries; None if there is none."""
    entries = [entry for split in splits if split for entry in split.entries]
    return Split(tuple(entries)) if entries else None


def file_digests(part: Part) -> tuple[str, ...]:
    """sha256 of each file in hex, read by a few threads; empty if it is unreadable."""
    return tuple(_digests(part))


def _digests(part: Part) -> Iterator[str]:
    files = iter(part.files)
    with (
        progress_bar("reading", total=len(part)) as advance,
        ThreadPoolExecutor(usable_cores(), "digest") as pool,
    ):
        while chunk := list(islice(files, 512)):
            yield from pool.map(file_sha256, chunk)
            advance(len(chunk))


def split_by_hash(part: Part, digests: Iterable[str], *, val_fraction: float) -> Split:
    """Images whose digest is below the fraction of all digests are for validation.

    So a file keeps its side when others come or go, and copies are on one side. Each
    class has at least one validation image, the one of the lowest digest, and one
    training image, of the highest. Raises BadDataset for a class without two images
    that differ.
    """
    digests = tuple(digests)
    threshold = int(val_fraction * 2**64)
    val = {d for d in digests if d and int(d[:16], 16) < threshold}
    of_class: defaultdict[str, set[str]] = defaultdict(set)
    for class_id, digest in zip(part.class_ids, digests, strict=True):
        of_class[class_id].update({digest} - {""})
    for class_id, there in sorted(of_class.items()):
        if len(there) < 2:
            raise BadDataset(
                f"class {class_id!r} has one image, or copies of one; a split needs "
                f"two that differ, to train on and to measure with: add some, or "
                f"remove the class"
            )
        if not there & val:
            val.add(min(there))
        elif there <= val:
            val.remove(max(there))
    rows = zip(part.names, part.class_ids, digests, strict=True)
    return Split(
        tuple(Entry(n, c, "val" if d in val else "train", d) for n, c, d in rows)
    )

"""The class vocabulary of a version: index <-> id <-> name."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict
from unicodedata import normalize

from classifier.bundle.strict_json import integer, string
from classifier.console.exits import WrongUsage
from classifier.console.text import csv_text

MOST_CLASSES = 100_000
"""ImageNet-21k has 21,841."""


class LabelEntry(TypedDict):
    """One entry of labels.json and of `GET /versions/v8`."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class Labels:
    """Class ids by index, and class names for people."""

    ids: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.names):
            raise ValueError(f"{len(self.ids)} class ids but {len(self.names)} names")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("a class id stands twice in the labels")

    @classmethod
    def from_ids(
        cls, ids: Iterable[str], names: Mapping[str, str] | None = None
    ) -> "Labels":
        """Labels of the sorted ids. A class without a name has its id as name."""
        ordered = tuple(sorted(set(ids)))
        return cls(ordered, tuple((names or {}).get(id_, id_) for id_ in ordered))

    @classmethod
    def from_json(cls, entries: Any) -> "Labels":
        """Raises ValueError if the entries are not 0..K-1."""
        if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_CLASSES:
            raise ValueError(f"labels are a list of 1 to {MOST_CLASSES:,} classes")
        for place, entry in enumerate(entries):
            _check_entry(entry, place)
        return cls(
            tuple(entry["id"] for entry in entries),
            tuple(entry["name"] for entry in entries),
        )

    def to_json(self) -> list[LabelEntry]:
        return [
            {"index": index, "id": id_, "name": name}
            for index, (id_, name) in enumerate(zip(self.ids, self.names, strict=True))
        ]

    @cached_property
    def index_of(self) -> Mapping[str, int]:
        """Class id -> index."""
        return {id_: index for index, id_ in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)


ClassMap = Sequence[tuple[str, str]]
"""Pairs of the baseline's and the candidate's id for one class."""


class BadClassMap(WrongUsage, ValueError):
    """The file of --class-map is no table of two columns, or names unknown classes."""


def read_class_map(path: Path) -> tuple[tuple[str, str], ...]:
    """The rows of a CSV file with the columns `a_id` and `b_id`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header, *rows = [row for row in csv.reader(lines) if row] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadClassMap(f"{path} cannot be read: {reason}") from error
    if header != ["a_id", "b_id"] or any(len(row) != 2 for row in rows):
        raise BadClassMap(
            f"{path} must have the columns a_id,b_id: in its first line these names, "
            "and in each other the baseline's and the candidate's id of one class"
        )
    pairs = [(csv_text(a), csv_text(b)) for a, b in rows]
    for column in zip(*pairs, strict=True):
        id_, count = Counter(column).most_common(1)[0]
        if count > 1:
            raise BadClassMap(f"{path}: the id {id_!r} stands twice in one column")
    return tuple(pairs)


def match_classes(
    a: Labels, b: Labels, chosen: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Ids of `b` and the ids of `a` that mean the same class, where both have it.

    Equal ids decide, then equal names, which only one class of each side may have, and
    for the rest `chosen` (b's id -> a's id). Letters' case means nothing in names.
    """
    matched = {id_: id_ for id_ in b.ids if id_ in a.index_of}
    of_a, of_b = _by_name(a, set(matched)), _by_name(b, set(matched))
    matched |= {of_b[name]: of_a[name] for name in of_b if name in of_a}
    taken = set(matched.values())
    return matched | {
        ours: theirs
        for ours, theirs in (chosen or {}).items()
        if ours in b.index_of
        and theirs in a.index_of
        and ours not in matched
        and theirs not in taken
    }


def check_class_map_is_for_the_rest(class_map: ClassMap, a: Labels, b: Labels) -> None:
    """Raises BadClassMap for a line about a class that id or name match to another."""
    of_b = match_classes(a, b)
    of_a = {theirs: ours for ours, theirs in of_b.items()}
    for a_id, b_id in class_map:
        theirs, ours = of_b.get(b_id, a_id), of_a.get(a_id, b_id)
        if (theirs, ours) == (a_id, b_id):
            continue
        pair = (theirs, b_id) if theirs != a_id else (a_id, ours)
        kind, remedy = "name", "give one of the two another name"
        if pair[0] == pair[1]:
            kind, remedy = (
                "id",
                "give the ids of one side a prefix of their own, so that they no "
                "longer coincide, and use it in the map",
            )
        raise BadClassMap(
            f"--class-map: its line {a_id},{b_id} is about a class that is matched by "
            f"{kind} already, the baseline's {pair[0]!r} with the candidate's "
            f"{pair[1]!r}; take the line away, or, if these two are not the same "
            f"class, {remedy}"
        )


def _by_name(labels: Labels, without: set[str]) -> dict[str, str]:
    """Name -> id, of the classes that are not in `without` and have a name alone."""
    names = [name.casefold().strip() for name in labels.names]
    count = Counter(names)
    return {
        name: id_
        for id_, name in zip(labels.ids, names, strict=True)
        if id_ not in without and count[name] == 1
    }


def _check_entry(entry: Any, place: int) -> None:
    if not isinstance(entry, dict) or not {"index", "id", "name"} <= entry.keys():
        raise ValueError(f"label {place} is no object with an index, an id and a name")
    index = integer(entry["index"], "an index", least=0, most=MOST_CLASSES)
    if index != place:
        raise ValueError(f"the indices of the labels are not 0, 1, 2, …: {index}")
    string(entry["id"], f"the id of label {place}")
    string(entry["name"], f"the name of label {place}")


def unicode_hint(ones: Iterable[str], others: Iterable[str]) -> str:
    """A remedy if two names differ only by their Unicode form, else empty.

    macOS writes `é` as two characters (NFD), other systems as one (NFC).
    """
    of_others = {normalize("NFC", name): name for name in others}
    for name in sorted(ones):
        other = of_others.get(normalize("NFC", name))
        if other not in (None, name):
            return (
                f"the names {name!r} and {other!r} look alike, {name!a} and {other!a}, "
                f"and differ by their Unicode form (NFC, NFD); rename the folders "
                f"alike: convmv -r -f utf8 -t utf8 --nfc --notest FOLDER"
            )
    return ""

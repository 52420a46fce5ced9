"""The class vocabulary of a version: index <-> id <-> name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict
from unicodedata import normalize

from classifier.bundle.strict_json import integer, string

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

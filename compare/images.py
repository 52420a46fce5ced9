"""The images that two versions are asked about, with the truth where there is one."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import category

from classifier.dataset import (
    BadDataset,
    Dataset,
    dataset_digest,
    is_image_name,
    part_digest,
)


@dataclass(frozen=True, kw_only=True)
class Images:
    """Names and files in parallel, and the classes if there are labels."""

    data_name: str
    source: str
    """What names them with --data."""

    digest: str
    """Over all that the data has, also where fewer are asked about."""

    available: int
    names: tuple[str, ...]
    files: tuple[Path, ...]
    class_ids: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.names)

    def only(self, names: Iterable[str]) -> "Images":
        """Those of these names, in the data's order."""
        wanted = set(names)
        return self._at(p for p, name in enumerate(self.names) if name in wanted)

    def sample(self, count: int | None) -> "Images":
        """Some of each class, always the same, in the data's order; None is all."""
        return self._at(sorted(sampling_order(self.names, self.class_ids)[:count]))

    def in_sampling_order(self) -> "Images":
        """A sample of any size comes before the rest."""
        return self._at(sampling_order(self.names, self.class_ids))

    def _at(self, places: Iterable[int]) -> "Images":
        kept, classes = list(places), self.class_ids
        return replace(
            self,
            names=tuple(self.names[place] for place in kept),
            files=tuple(self.files[place] for place in kept),
            class_ids=classes and tuple(classes[place] for place in kept),
        )


def sampling_order(names: Sequence[str], class_ids: Sequence[str] | None) -> list[int]:
    """Places such that the first N are a sample of N, stratified by class.

    It depends on names and classes alone, and a sample is part of each larger one.
    First comes an image of each class; then each class has its share at each N, by
    Webster's method. Within a class, and without classes, images go by their hash.
    """
    hashes = [hashlib.sha256(name.encode()).digest() for name in names]
    by_hash = sorted(range(len(names)), key=hashes.__getitem__)
    if class_ids is None:
        return by_hash
    sizes, seen = Counter(class_ids), Counter[str]()
    due = {}
    for place in by_hash:
        class_id = class_ids[place]
        # The share of all images at which this one's turn has come.
        due[place] = (seen[class_id] + 0.5) / sizes[class_id] if seen[class_id] else 0
        seen[class_id] += 1
    return sorted(by_hash, key=due.__getitem__)


def labelled_images(dataset: Dataset, limit: int | None) -> Images:
    """The validation part, or a sample of `limit` images."""
    part = dataset.val
    whole = Images(
        data_name=dataset.name,
        source=dataset.source,
        digest=part_digest(part),
        available=len(part),
        names=part.names,
        files=part.files,
        class_ids=part.class_ids,
    )
    return whole.sample(limit)


def is_unlabelled(source: str) -> bool:
    """Whether it is a folder of images that has no layout with labels."""
    root = _folder(source)
    return (
        source != "digits"
        and root.is_dir()
        and not any((root / part).exists() for part in ("train", "val"))
        and next(_image_files(root), None) is not None
    )


def unlabelled_images(source: str, limit: int | None) -> Images:
    """All images below a folder, or a sample, called by their paths in it.

    BadDataset for names that no report could carry. The digest is a labelled data
    set's with no class ids.
    """
    root = _folder(source)
    files = sorted(_image_files(root))
    names = tuple(file.relative_to(root).as_posix() for file in files)
    for file in files:
        if any(category(letter) in ("Cc", "Cs") for letter in str(file)):
            raise BadDataset(
                f"the name of {str(file)!r} is not plain UTF-8 text; rename the file"
            )
    sha256s = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    whole = Images(
        data_name=root.name or "images",
        source=str(root),
        digest=dataset_digest(names, [""] * len(names), sha256s),
        available=len(files),
        names=names,
        files=tuple(files),
        class_ids=None,
    )
    return whole.sample(limit)


def _folder(source: str) -> Path:
    return Path(os.path.expanduser(source)).absolute()


def _image_files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name[0] != "." and name != "__MACOSX"]
        yield from (Path(folder, name) for name in names if is_image_name(name))

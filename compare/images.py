"""The images that two versions are asked about, with the truth where there is one."""

import hashlib
import os
from collections.abc import Iterable, Iterator
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
        kept = [place for place, name in enumerate(self.names) if name in wanted]
        classes = self.class_ids
        return replace(
            self,
            names=tuple(self.names[place] for place in kept),
            files=tuple(self.files[place] for place in kept),
            class_ids=classes and tuple(classes[place] for place in kept),
        )


def labelled_images(dataset: Dataset, limit: int | None) -> Images:
    """The validation part, or its first `limit` images."""
    part = dataset.val
    return Images(
        data_name=dataset.name,
        source=dataset.source,
        digest=part_digest(part),
        available=len(part),
        names=part.names[:limit],
        files=part.files[:limit],
        class_ids=part.class_ids[:limit],
    )


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
    """All images below a folder, called by their paths in it.

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
    return Images(
        data_name=root.name or "images",
        source=str(root),
        digest=dataset_digest(names, [""] * len(names), sha256s),
        available=len(files),
        names=names[:limit],
        files=tuple(files[:limit]),
        class_ids=None,
    )


def _folder(source: str) -> Path:
    return Path(os.path.expanduser(source)).absolute()


def _image_files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name[0] != "." and name != "__MACOSX"]
        yield from (Path(folder, name) for name in names if is_image_name(name))

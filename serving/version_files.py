"""Whether the files of a version that could not be loaded are still the same."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class VersionFiles:
    """A folder as it was before it was read."""

    folder: Path
    state: frozenset[Hashable]

    @classmethod
    def of(cls, folder: Path) -> "VersionFiles":
        return cls(folder, _state(folder))

    @property
    def have_changed(self) -> bool:
        """Also where the folder was moved away, or is back."""
        return _state(self.folder) != self.state


def _state(folder: Path) -> frozenset[Hashable]:
    try:
        return frozenset(_state_of_file(file) for file in folder.iterdir())
    except OSError:
        return frozenset()


def _state_of_file(file: Path) -> Hashable:
    """Follows links: what a link of DVC leads to may be put back."""
    try:
        found = file.stat()
    except OSError:
        return file.name
    # ctime: a copy with the old file's size and time of change is another file.
    return file.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns

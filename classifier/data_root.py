"""Finds the folder that holds a data set's parts, or what they may be called there."""

import os
from pathlib import Path

from classifier.dataset import BadDataset
from classifier.listing import some, subfolders

PARTS = ("train", "val")
TABLE = "val_annotations.txt"
DEPTH = 2
"""Folders below the one that was named: archives hold `archive/dataset/train`."""

_ALIKE = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval", "test", "testing"),
}
"""Names, in lower case, that others give to a part; the likeliest first."""


def find_root(folder: Path) -> Path | None:
    """`folder` if it has a part; else the one folder below that has a `val` of classes.

    BadDataset where several have: nobody can tell which is meant.
    """
    if any(os.path.exists(folder / part) for part in PARTS):
        return folder
    level = subfolders(folder)
    for _ in range(DEPTH):
        found = [inner for inner in level if _has_validation_part(inner)]
        if len(found) > 1:
            raise BadDataset(
                f"{folder} holds {len(found)} data sets: "
                f"{some(inner.relative_to(folder) for inner in found)}; name the "
                f"folder of one with --data, after unpacking if it is an archive's"
            )
        if found:
            return found[0]
        level = _below(level)
    return None


def hint_of_parts(root: Path, *, depth: int = DEPTH) -> str:
    """How to rename parts that have other names; empty where no folder looks alike.

    The folders in `root` and, `depth` times, in those below are looked at.
    """
    level = [root]
    for _ in range(depth + 1):
        hints = (_hint_in(folder, is_root=folder == root) for folder in level)
        if hint := next(filter(None, hints), ""):
            return hint
        level = _below(level)
    return ""


def _has_validation_part(folder: Path) -> bool:
    # os.path, as Path raises where a folder is not this user's: a disk's lost+found.
    val = folder / "val"
    return os.path.isdir(val) and (os.path.isfile(val / TABLE) or bool(_below([val])))


def _below(folders: list[Path]) -> list[Path]:
    """Their subfolders; none of a folder that this user may not list."""
    return [
        inner
        for folder in folders
        if os.access(folder, os.R_OK | os.X_OK)
        for inner in subfolders(folder)
    ]


def _hint_in(folder: Path, *, is_root: bool) -> str:
    names = {inner.name.lower(): inner.name for inner in _below([folder])}
    there = [part for part in PARTS if os.path.isdir(folder / part)]
    renames = {
        names[alike[0]]: part
        for part in PARTS
        if part not in there and (alike := [n for n in _ALIKE[part] if n in names])
    }
    if renames:
        found = " and ".join(map(repr, [*there, *renames]))
        todo = " and ".join(f"{name!r} to {part!r}" for name, part in renames.items())
        return f"{folder} has {found}: rename or link {todo}"
    if there and not is_root:
        return f"{folder} has {there[0]!r} alone, and the other part is not beside it"
    return ""

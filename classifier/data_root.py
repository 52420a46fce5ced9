"""Finds the folder that holds a data set's parts, or what they may be called there."""

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
    if any((folder / part).exists() for part in PARTS):
        return folder
    level = [folder]
    for _ in range(DEPTH):
        level = [inner for outer in level for inner in subfolders(outer)]
        found = [inner for inner in level if _has_validation_part(inner)]
        if len(found) > 1:
            raise BadDataset(
                f"{folder} holds {len(found)} data sets: "
                f"{some(inner.relative_to(folder) for inner in found)}; name the "
                f"folder of one with --data, after unpacking if it is an archive's"
            )
        if found:
            return found[0]
    return None


def hint_of_parts(root: Path, *, depth: int = DEPTH) -> str:
    """What to rename where parts go by other names; empty where no folder looks alike.

    The folders in `root` and, `depth` times, in those below are looked at.
    """
    level = [root]
    for _ in range(depth + 1):
        hints = (_hint_in(folder, is_root=folder == root) for folder in level)
        if hint := next(filter(None, hints), ""):
            return hint
        level = [inner for folder in level for inner in subfolders(folder)]
    return ""


def _has_validation_part(folder: Path) -> bool:
    val = folder / "val"
    return val.is_dir() and ((val / TABLE).is_file() or bool(subfolders(val)))


def _hint_in(folder: Path, *, is_root: bool) -> str:
    names = {inner.name.lower(): inner.name for inner in subfolders(folder)}
    there = [part for part in PARTS if (folder / part).is_dir()]
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

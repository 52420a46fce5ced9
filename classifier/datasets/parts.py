"""Finds the parts of a data set, train/ and val/, or that it has none."""

import os
from pathlib import Path

from classifier.datasets.dataset import BadDataset
from classifier.datasets.listing import (
    below,
    first_few,
    has_images,
    has_images_of_its_own,
    subfolders,
)

PARTS = ("train", "val")
TABLE = "val_annotations.txt"
DEPTH = 2
"""Levels to search below the given folder, as in `archive/dataset/train`."""

_ALIKE = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval", "test", "testing"),
}
"""Other names of the parts, in lower case, the likeliest first."""


_NAMES_OF_PARTS = {name for names in _ALIKE.values() for name in names}


def has_parts(folder: Path) -> bool:
    """Whether there is a train/ or val/, and it is no class beside other classes."""
    there = [part for part in PARTS if os.path.exists(folder / part)]
    return bool(there) and classes_named_like_parts(folder) != there


def classes_named_like_parts(folder: Path) -> list[str]:
    """The name among PARTS, if its folder is a class: `train` beside `bus` and `car`.

    A class has images of its own and no class folders, and its neighbours have images
    too. Of two folders with names of parts neither counts as a class.
    """
    inner = below([folder])
    alike = [each for each in inner if each.name.lower() in _NAMES_OF_PARTS]
    if len(alike) != 1 or alike[0].name not in PARTS or _is_part(alike[0]):
        return []
    is_class = has_images_of_its_own(alike[0]) and others_beside_parts(folder)
    return [alike[0].name] if is_class else []


def others_beside_parts(folder: Path) -> list[Path]:
    """Folders with images whose names are not those of parts."""
    return [
        inner
        for inner in below([folder])
        if inner.name.lower() not in _NAMES_OF_PARTS and has_images(inner)
    ]


def _is_part(folder: Path) -> bool:
    """Whether a folder has class folders, or Tiny ImageNet's table."""
    has_table = os.path.isfile(folder / TABLE)
    return has_table or any(map(has_images, below([folder])))


def find_root(folder: Path) -> Path | None:
    """`folder` if it has a part; else the only folder below that has a `val` part.

    Raises BadDataset if several folders have one.
    """
    if has_parts(folder):
        return folder
    level = subfolders(folder)
    for _ in range(DEPTH):
        found = [inner for inner in level if _has_validation_part(inner)]
        if len(found) > 1:
            raise BadDataset(
                f"{folder} holds {len(found)} data sets: "
                f"{first_few(inner.relative_to(folder) for inner in found)}; name the "
                f"folder of one with --data, after unpacking if it is an archive's"
            )
        if found:
            return found[0]
        level = below(level)
    return None


def find_flat_root(folder: Path) -> Path | None:
    """`folder` if it has class folders without parts; else the only folder that has.

    Images in one folder alone are no classes, nor are parts with other names.
    """
    level = [folder]
    for _ in range(DEPTH + 1):
        if len(level) != 1 or _resembles_parts(level[0]):
            return None
        inner = [each for each in below(level) if has_images(each)]
        if len(inner) > 1:
            return level[0]
        level = inner
    return None


def _resembles_parts(root: Path) -> bool:
    """Whether folders that are named like parts are more likely parts than classes.

    One is, if it has class folders; and so are two, of which one is train/ or val/.
    """
    alike = [each for each in below([root]) if each.name.lower() in _NAMES_OF_PARTS]
    names = {each.name for each in alike}
    is_pair = len(names) > 1 and not names.isdisjoint(PARTS)
    return is_pair or any(map(_is_part, alike))


def hint_of_parts(root: Path, *, depth: int = DEPTH) -> str:
    """How to rename parts with other names; empty if no folder resembles a part.

    Searches the folders in `root` and `depth` levels below.
    """
    level = [root]
    for _ in range(depth + 1):
        hints = (_hint_in(folder, is_root=folder == root) for folder in level)
        if hint := next(filter(None, hints), ""):
            return hint
        level = below(level)
    return ""


def folders_beside_a_part(root: Path) -> tuple[str, ...]:
    """The only part, and in words the other folders with images; empty without."""
    there = [part for part in PARTS if os.path.isdir(root / part)]
    others = [Path(each.name) for each in others_beside_parts(root)]
    return (*there, first_few(others)) if len(there) == 1 and others else ()


def hint_of_an_unclear_part(root: Path) -> str:
    """Advice if the only part may be a class; empty if it is alone."""
    if not (unclear := folders_beside_a_part(root)):
        return ""
    part, others = unclear
    return (
        f"{part}/ has folders or is empty, and beside it are {others} with images: if "
        f"{part!r} is a part, move the others away, or name {root / part} with --data, "
        f"and it is split by itself; if it is a class, put its images into the folder "
        f"itself"
    )


def _has_validation_part(folder: Path) -> bool:
    # Path would raise if the folder is another user's, such as a disk's lost+found.
    val = folder / "val"
    return os.path.isdir(val) and (os.path.isfile(val / TABLE) or bool(below([val])))


def _hint_in(folder: Path, *, is_root: bool) -> str:
    names = {inner.name.lower(): inner.name for inner in below([folder])}
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
        return f"{folder} has only {there[0]!r}; the other part is not beside it"
    return ""

"""Finds the parts of a data set, and the images below a folder."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from classifier.datasets.dataset import UNREADABLE, BadDataset
from classifier.images.decoding import is_image

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".avif"),
)

HIDDEN = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir"})
"""Names, in lower case, of files that macOS, Windows and Synology's boxes add."""

HEAD_BYTES = 256
"""Bytes of a file without a suffix that is_image() needs."""

IMAGE, FOLDER, DEAD_LINK = "image", "folder", "link that leads nowhere"
LISTED_ALREADY = "link to a folder that is listed already"
_SPECIAL = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}

_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and bytes that are not UTF-8."""

LeftOut = Counter[str]
"""Counts of the files and folders that are not read, by kind."""


@dataclass(frozen=True)
class Listing:
    """Images below a folder; a dead link with an image's name is one of them."""

    folder: Path
    names: tuple[str, ...]
    """Paths below the folder, sorted as paths are."""

    left_out: LeftOut

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.folder / name for name in self.names)


def list_images(folder: Path) -> Listing:
    """All images below a folder, also through links; none if the folder is absent.

    Raises BadDataset for names that are not plain text. Path.rglob and sorted paths
    would take 1.9 s for Tiny ImageNet; this takes a third.
    """
    left_out = LeftOut()
    walked = _walk(folder, left_out) if folder.is_dir() else iter(())
    found = sorted(walked, key=lambda name: name.split("/"))
    check_names(folder, found)
    return Listing(folder, tuple(found), left_out)


def has_images(folder: Path) -> bool:
    """Whether list_images() would find one; stops at the first."""
    return next(_walk(folder, LeftOut()), None) is not None


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted; linked ones too, hidden ones not."""
    return [
        Path(entry.path)
        for entry in _entries(folder)
        if not is_hidden(entry.name) and _kind(entry) == FOLDER
    ]


def class_folders(folder: Path, left_out: LeftOut) -> list[Path]:
    """Like subfolders(), and counts all other entries in `left_out`.

    Raises BadDataset for a dead link that could be a class.
    """
    folders = []
    for entry in _entries(folder):
        kind = "hidden" if is_hidden(entry.name) else _kind(entry)
        if kind == FOLDER:
            folders.append(Path(entry.path))
        elif kind == DEAD_LINK and not os.path.splitext(entry.name)[1]:
            raise BadDataset(
                f"{entry.path} is a link to {os.readlink(entry.path)!r}, which does "
                f"not exist; repair the link, or remove it"
            )
        else:
            left_out[f"{IMAGE} beside the classes" if kind == IMAGE else kind] += 1
    return folders


def is_image_name(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in HIDDEN


def describe_left_out(left_out: LeftOut, *, where: str) -> tuple[str, ...]:
    """A sentence without a full stop; none if nothing was left out."""
    return (f"left out of {where}: {describe_kinds(left_out)}",) if left_out else ()


def describe_kinds(left_out: LeftOut) -> str:
    """Such as `12 .txt, 3 hidden`, the most frequent kind first."""
    counts = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {kind}" for kind, count in counts)


def first_few(paths: Iterable[Path], *, limit: int = 3) -> str:
    """The first few paths, and how many more, for a message."""
    paths = list(paths)
    shown = ", ".join(str(path) for path in paths[:limit])
    return shown if len(paths) <= limit else f"{shown} and {len(paths) - limit:,} more"


def check_names(folder: Path, names: Iterable[str]) -> None:
    """Raises BadDataset for names that cannot stand in reports, tables or forms."""
    if _UNFIT.search(str(folder)):
        raise BadDataset(
            f"the name of {str(folder)!r} is not plain UTF-8 text; rename the folder"
        )
    for name in names:
        if _UNFIT.search(name):
            raise BadDataset(
                f"the name of {str(folder / name)!r} is not plain UTF-8 text; rename "
                f"the file"
            )


def _walk(root: Path, left_out: LeftOut) -> Iterator[str]:
    """Paths of images below `root`, unordered.

    Real folders come before linked ones, so a folder that is found twice is listed
    under its own path. A link to it, or to a folder above `root`, is not followed.
    """
    seen = set()
    for above in root.resolve().parents:
        with suppress(OSError):
            seen.add(_identity(above))
    folders, linked = [""], list[str]()
    while folders or linked:
        below = folders.pop() if folders else linked.pop(0)
        folder = root / below
        if (identity := _identity(folder)) in seen:
            left_out[LISTED_ALREADY] += 1
            continue
        seen.add(identity)
        for entry in _entries(folder):
            name = f"{below}/{entry.name}" if below else entry.name
            kind = "hidden" if is_hidden(entry.name) else _kind(entry)
            if kind == FOLDER:
                (linked if entry.is_symlink() else folders).append(name)
            elif kind == IMAGE:
                yield name
            else:
                left_out[kind] += 1


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Entries sorted by name. Raises BadDataset if the folder may not be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except PermissionError as error:
        raise BadDataset(
            f"{folder} cannot be listed: {error.strerror}; give this user the right "
            f"to read it (chmod u+rx), or remove it"
        ) from error


def _kind(entry: os.DirEntry[str]) -> str:
    """IMAGE, FOLDER, or a word for another kind.

    Opens regular files only, because a pipe would wait for its writer.
    """
    mode = _mode(entry)
    if mode is None:
        return IMAGE if is_image_name(entry.name) else DEAD_LINK
    if stat.S_ISDIR(mode):
        return FOLDER
    if not stat.S_ISREG(mode):
        return _SPECIAL.get(stat.S_IFMT(mode), "device")
    if is_image_name(entry.name):
        return IMAGE
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix:
        is_plain = suffix[1:].isalnum() and suffix.isascii()
        return suffix if is_plain else "with an odd suffix"
    return IMAGE if _begins_as_image(entry.path) else "without a suffix"


def _mode(entry: os.DirEntry[str]) -> int | None:
    """Type bits of the file or a link's target; None for a dead link."""
    try:
        if entry.is_symlink():
            return os.stat(entry.path).st_mode
        if entry.is_file(follow_symlinks=False):  # needs no system call
            return stat.S_IFREG
        return entry.stat(follow_symlinks=False).st_mode
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return None


def _begins_as_image(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return is_image(file.read(HEAD_BYTES))
    except PermissionError:
        return False


PARTS = ("train", "val")
TABLE = "val_annotations.txt"
DEPTH = 2
"""Levels to search below the given folder, as in `archive/dataset/train`."""

_ALIKE = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "eval", "test", "testing"),
}
"""Other names of the parts, in lower case, the likeliest first."""


def has_parts(folder: Path) -> bool:
    return any(os.path.exists(folder / part) for part in PARTS)


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
        level = _below(level)
    return None


def find_flat_root(folder: Path) -> Path | None:
    """`folder` if it has class folders without parts; else the only folder that has.

    Images in one folder alone are no classes, nor are parts with other names.
    """
    level = [folder]
    for _ in range(DEPTH + 1):
        if len(level) != 1 or _resembles_parts(level[0]):
            return None
        inner = [below for below in _below(level) if has_images(below)]
        if len(inner) > 1:
            return level[0]
        level = inner
    return None


def _resembles_parts(root: Path) -> bool:
    """Whether a folder named like a part has class folders. One with images is one."""
    alike = {name for names in _ALIKE.values() for name in names}
    return any(
        any(map(has_images, _below([inner])))
        for inner in _below([root])
        if inner.name.lower() in alike
    )


def hint_of_parts(root: Path, *, depth: int = DEPTH) -> str:
    """How to rename parts with other names; empty if no folder resembles a part.

    Searches the folders in `root` and `depth` levels below.
    """
    level = [root]
    for _ in range(depth + 1):
        hints = (_hint_in(folder, is_root=folder == root) for folder in level)
        if hint := next(filter(None, hints), ""):
            return hint
        level = _below(level)
    return ""


def _has_validation_part(folder: Path) -> bool:
    # Path would raise if the folder is another user's, such as a disk's lost+found.
    val = folder / "val"
    return os.path.isdir(val) and (os.path.isfile(val / TABLE) or bool(_below([val])))


def _below(folders: list[Path]) -> list[Path]:
    """All subfolders, except in folders that this user may not list."""
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
        return f"{folder} has only {there[0]!r}; the other part is not beside it"
    return ""

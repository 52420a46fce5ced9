"""Files that are written whole or not at all."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside it to write to, which takes its place when all went well."""
    partial = _partial(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """In UTF-8, with the line ends that it has."""
    with whole(path) as partial:
        partial.write_text(text, "utf-8", newline="")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """NaN has no place in JSON and is a fault of ours: ValueError."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Those that are there, and what a kill left of writing them."""
    for path in (folder / name for name in names):
        path.unlink(missing_ok=True)
        _partial(path).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")

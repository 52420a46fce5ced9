"""Text tables beside a data set, whichever system and editor wrote them."""

import codecs
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from unicodedata import normalize

from classifier.dataset import BadDataset


def class_names(root: Path, class_ids: Iterable[str]) -> Mapping[str, str]:
    """Class id -> the first of its names in words.txt, for classes that it has.

    A line is `n01443537 <tab> goldfish, Carassius auratus`. Ids are matched whatever
    their Unicode form. Empty without that file.
    """
    words = root / "words.txt"
    if not words.is_file():
        return {}
    pairs = (first_field(line) for _, line in table_lines(words))
    name_of = {
        normalize("NFC", class_id): names.split(",")[0].strip()
        for class_id, names in pairs
        if names
    }
    known = ((class_id, normalize("NFC", class_id)) for class_id in class_ids)
    return {class_id: name_of[key] for class_id, key in known if key in name_of}


def table_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines without their ends; blank lines are left out.

    UTF-8, with a mark of byte order or without; UTF-16 with one; and, line by line, the
    Latin alphabet of Windows, of which Latin-1 is part.
    """
    try:
        data = file.read_bytes()
    except PermissionError as error:
        raise BadDataset(
            f"{file} cannot be read: {error.strerror}; give this user the right to "
            f"read it (chmod u+r)"
        ) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", errors="replace").encode()
    # Of bytes, splitlines() parts at \n, \r and \r\n alone; of text, at U+0085 too.
    lines = data.removeprefix(codecs.BOM_UTF8).splitlines()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _decoded(line)


def first_field(line: str) -> tuple[str, str]:
    """The text before the first tab and after it; without a tab, the first blank."""
    first, _, rest = line.strip().partition("\t" if "\t" in line else " ")
    return first.strip(), rest.strip()


def _decoded(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")

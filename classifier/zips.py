"""Members of a zip file, written under the names that they were packed with."""

import os
import posixpath
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

from classifier.dataset import BadDataset
from classifier.listing import is_image_name

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
"""Info-ZIP's extra field: the name in UTF-8, with a checksum of the one it replaces."""

DOS = 0
"""`create_system` of Windows' own tools, whose names cannot have a backslash."""

PACK_AGAIN = "pack it again, or unpack it yourself and name the folder with --data"


def extract_zip(zipped: zipfile.ZipFile, to: Path) -> None:
    """BadDataset for links, for names that lead outside, or that nobody can decode."""
    made = set()
    for member in zipped.infolist():
        name = member_name(member)
        target = to / _inside(name, zipped)
        _check_no_link(member, name, zipped)
        folder = target if name.endswith("/") else target.parent
        if folder not in made:
            folder.mkdir(parents=True, exist_ok=True)
            made.add(folder)
        if folder != target:
            with zipped.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)


def member_name(member: zipfile.ZipInfo) -> str:
    """With slashes. BadDataset for an image's name in a code page that is not known.

    Without the flag for UTF-8 a name is, by the standard, in code page 437. Many tools
    write UTF-8 all the same, and others the code page of their country.
    """
    name = _decoded(member)
    if "\\" in name and ("/" not in name or member.create_system == DOS):
        return name.replace("\\", "/")
    return name


def _decoded(member: zipfile.ZipInfo) -> str:
    packed = member.orig_filename.partition("\0")[0]
    if member.flag_bits & UTF8_FLAG:
        return packed
    raw = packed.encode("cp437")  # as Python decoded it, which maps each byte to one
    told = _unicode_path(member.extra, raw)
    try:
        return (told or raw).decode("utf-8")
    except UnicodeDecodeError:
        pass
    if is_image_name(packed) and not all(map(_is_latin, packed)):
        raise BadDataset(
            f"the name {raw!r} in a zip file is not UTF-8, and as code page 437 it "
            f"reads {packed!r}; unpack it with the code page it was packed with (such "
            f"as unzip -O GBK) and name the folder with --data"
        )
    return packed


def _is_latin(character: str) -> bool:
    """Code page 437 has its accented letters where others have signs, and Greek letters
    where Windows' Latin alphabet has accented ones."""
    is_letter = unicodedata.name(character, "").startswith("LATIN ")
    return character.isascii() or is_letter


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """The extra field's UTF-8; None without one, or where it is of another name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        value, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and len(value) > 5:
            version, checksum = struct.unpack_from("<BL", value)
            if version == 1 and checksum == zlib.crc32(raw):
                return value[5:]
    return None


def _inside(name: str, zipped: zipfile.ZipFile) -> str:
    path = posixpath.normpath(name.lstrip("/") or ".")
    if path == ".." or path.startswith("../"):
        raise BadDataset(
            f"{name!r} in {zipped.filename} lies outside the archive's folder; "
            f"{PACK_AGAIN}"
        )
    return path


def _check_no_link(member: zipfile.ZipInfo, name: str, zipped: zipfile.ZipFile) -> None:
    if stat.S_ISLNK(member.external_attr >> 16):
        to = os.fsdecode(zipped.read(member)[:200])
        raise BadDataset(
            f"{name!r} in {zipped.filename} is a link to {to!r}, and links in a zip "
            f"are not followed; {PACK_AGAIN} (zip -r without -y packs the files)"
        )

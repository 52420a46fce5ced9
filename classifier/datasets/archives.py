"""Archives of data sets: unpacked once, into the cache; unsafe ones are refused."""

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from pathlib import Path

from classifier.datasets.dataset import BadDataset
from classifier.datasets.listing import is_image_name
from classifier.storage import DiskTooSmall, build_once, check_room, megabytes

SUFFIXES = (
    *(".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"),
    *(".tgz", ".tbz", ".tbz2", ".txz"),
)

FORMAT = 2
"""Part of a zip's key in the cache; raise it when the decoding of names changes."""

HARMLESS_BYTES, MOST_RATIO = 1 << 30, 100
"""An archive that unpacks to more than 1 GiB and to 100 times its size is a bomb. Zeros
shrink 1,000 times in a zip, photographs hardly, and the digits as uncompressed PNG 2.5
times in a .tar.xz."""

MOST_HEADER_BYTES = 16 << 20
"""Names take a few kB; tarfile holds a header of any length in memory."""

UNPACK_IT = "unpack it yourself and name the folder with --data"

_NAMES_CLASH = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL}
)
"""System errors that an archive's odd names cause."""

_DAMAGED = (
    EOFError,
    OSError,
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    *(ValueError, LookupError, OverflowError, struct.error),  # of odd headers
)

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
"""Info-ZIP's extra field: the name in UTF-8, and a checksum of the plain name."""

DOS = 0
"""`create_system` of Windows' own tools, whose names cannot have a backslash."""

PACK_AGAIN = f"pack it again, or {UNPACK_IT}"


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, *, cache: Path) -> Path:
    """The folder in the cache with the archive's files.

    Its key is the path, size and mtime. Raises BadDataset if the archive is cut off or
    damaged, is a bomb, or has names outside its folder; DiskTooSmall.
    """
    status = archive.stat()
    key = f"{archive.resolve()}\t{status.st_size}\t{status.st_mtime_ns}"
    if _is_zip(archive):
        key += f"\t{FORMAT}"
    name = f"{stem(archive)}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return build_once(cache / "unpacked" / name, lambda to: _extract(archive, to))


def stem(archive: Path) -> str:
    """The archive's name without its suffixes."""
    lower = archive.name.lower()
    longest = max((s for s in SUFFIXES if lower.endswith(s)), key=len)
    return archive.name[: -len(longest)]


def _is_zip(archive: Path) -> bool:
    return archive.name.lower().endswith(".zip")


def _extract(archive: Path, to: Path) -> None:
    try:
        if _is_zip(archive):
            with zipfile.ZipFile(archive) as zipped:
                size = sum(member.file_size for member in zipped.infolist())
                _check_ratio(size, archive)
                _check_room(to, size, f"the content of {archive}")
                _extract_zip(zipped, to)
        else:
            with (
                _open_tar(archive) as stream,
                tarfile.open(archive, "r:", fileobj=_SmallReads(stream)) as tarred,
            ):
                _extract_tar(tarred, archive, to)
    except (BadDataset, DiskTooSmall):
        raise
    except RuntimeError as error:  # encrypted, or a compression Python does not have
        raise BadDataset(
            f"{archive} cannot be unpacked here: {error}; {UNPACK_IT}"
        ) from error
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno not in (None, *_NAMES_CLASH):
            raise  # The disk is full or not writable.
        raise BadDataset(
            f"{archive} ({archive.stat().st_size:,} bytes) is cut off or damaged: "
            f"{error}; download it again"
        ) from error
    shutil.rmtree(to / "__MACOSX", ignore_errors=True)


def _check_ratio(unpacked_bytes: int, archive: Path) -> None:
    """Raises BadDataset for a bomb, before so many bytes are written."""
    ratio = unpacked_bytes / max(1, archive.stat().st_size)
    if unpacked_bytes > HARMLESS_BYTES and ratio > MOST_RATIO:
        raise BadDataset(
            f"{archive} unpacks to {megabytes(unpacked_bytes)} or more, {ratio:,.0f} "
            f"times its size, which no archive of images does; if you trust it, "
            f"{UNPACK_IT}"
        )


def _check_room(to: Path, size: int, purpose: str) -> None:
    remedy = "make room, or name a folder on another disk with --cache"
    check_room(to, size, purpose=purpose, remedy=remedy)


def _extract_zip(zipped: zipfile.ZipFile, to: Path) -> None:
    """Raises BadDataset for links, names outside the folder, and undecodable names."""
    made = set()
    for member in zipped.infolist():
        name = _member_name(member)
        target = to / _inside(name, zipped)
        _check_no_link(member, name, zipped)
        folder = target if name.endswith("/") else target.parent
        if folder not in made:
            folder.mkdir(parents=True, exist_ok=True)
            made.add(folder)
        if folder != target:
            with zipped.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)


def _member_name(member: zipfile.ZipInfo) -> str:
    """The name with slashes. Raises BadDataset if an image's code page is unknown.

    A name without the flag for UTF-8 is in code page 437 by the standard. Many tools
    write UTF-8 nevertheless, others the code page of their country.
    """
    name = _decoded(member)
    if "\\" in name and ("/" not in name or member.create_system == DOS):
        return name.replace("\\", "/")
    return name


def _decoded(member: zipfile.ZipInfo) -> str:
    packed = member.orig_filename.partition("\0")[0]
    if member.flag_bits & UTF8_FLAG:
        return packed
    raw = packed.encode("cp437")  # undoes Python's decoding, byte for byte
    in_utf8 = _unicode_path(member.extra, raw)
    try:
        return (in_utf8 or raw).decode("utf-8")
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
    """Decides whether a name is in code page 437.

    Where it has accented letters, other code pages have signs; where Windows' Latin
    alphabet has accented letters, it has Greek ones.
    """
    is_letter = unicodedata.name(character, "").startswith("LATIN ")
    return character.isascii() or is_letter


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """The name in the extra field, or None; a wrong checksum means another name."""
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


def _open_tar(archive: Path) -> io.BufferedIOBase:
    """Open the tar by the archive's first bytes, because suffixes may be wrong."""
    with archive.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(archive)
    if head.startswith(b"BZh"):
        return bz2.open(archive)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.open(archive)
    return archive.open("rb")


class _SmallReads(io.RawIOBase):
    """Raises tarfile.ReadError if one read asks for more than MOST_HEADER_BYTES.

    tarfile reads a header at once, and files in pieces of 16 kB.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _extract_tar(tarred: tarfile.TarFile, archive: Path, to: Path) -> None:
    unpacked_bytes = 0
    for member in tarred:
        unpacked_bytes += member.size
        _check_ratio(unpacked_bytes, archive)
        _check_room(to, member.size, f"the next file of {archive}")
        if hasattr(tarfile, "data_filter"):
            _extract_filtered(tarred, member, archive, to)
        else:
            _extract_by_hand(tarred, member, archive, to)
    # A whole tar ends with zeros; Python also accepts one cut between two members.
    assert tarred.fileobj is not None
    tarred.fileobj.seek(tarred.offset)
    if tarred.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it does not end as a tar file does")


def _extract_filtered(
    tarred: tarfile.TarFile, member: tarfile.TarInfo, archive: Path, to: Path
) -> None:
    try:
        tarred.extract(member, to, filter="data")
    except (tarfile.FilterError, KeyError) as error:  # KeyError: a hard link
        raise _refused(member, archive, str(error)) from error
    if member.islnk() and not os.path.lexists(to / member.name):
        raise _refused(member, archive, "its target is not there")


def _extract_by_hand(
    tarred: tarfile.TarFile, member: tarfile.TarInfo, archive: Path, to: Path
) -> None:
    # Python before 3.11.4 has no filters (Debian 12 has 3.11.2): only plain files here.
    if not (to / member.name).resolve().is_relative_to(to.resolve()):
        raise _refused(member, archive, "it lies outside the archive's folder")
    if not (member.isfile() or member.isdir()):
        raise _refused(member, archive, "it is not a plain file")
    tarred.extract(member, to)


def _refused(member: tarfile.TarInfo, archive: Path, reason: str) -> BadDataset:
    name = f"{member.name!r} in {archive}"
    if member.issym() or member.islnk():
        return BadDataset(
            f"{name} is a link to {member.linkname!r} that is not followed ({reason}); "
            f"pack the files themselves (tar --dereference), or {UNPACK_IT}"
        )
    return BadDataset(f"{name} is not unpacked: {reason}; {UNPACK_IT}")

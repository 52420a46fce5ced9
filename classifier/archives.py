"""Unpacks an archive of a data set, once."""

import hashlib
import lzma
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from classifier.data_root import find_root
from classifier.dataset import BadDataset
from classifier.listing import subfolders
from classifier.staging import build_once

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, *, cache: Path) -> Path:
    """The folder of the data set inside; kept in the cache by path, size and mtime.

    BadDataset for an archive that is cut off, damaged, or reaches outside its folder.
    """
    status = archive.stat()
    key = f"{archive.resolve()}\t{status.st_size}\t{status.st_mtime_ns}"
    name = f"{stem(archive)}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    unpacked = build_once(cache / "unpacked" / name, lambda to: _extract(archive, to))
    return find_root(unpacked) or _single_folder(unpacked)


def _extract(archive: Path, to: Path) -> None:
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(to)
        else:
            with tarfile.open(archive) as tarred:
                _extract_tar(tarred, to)
    except (
        EOFError,
        OSError,
        tarfile.TarError,
        zipfile.BadZipFile,
        lzma.LZMAError,
        zlib.error,
        RuntimeError,  # an encrypted zip, or a compression Python does not have
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk is full or not writable: not the archive's fault
        raise BadDataset(
            f"{archive} ({archive.stat().st_size:,} bytes) is cut off or damaged: "
            f"{error}; download it again"
        ) from error
    shutil.rmtree(to / "__MACOSX", ignore_errors=True)


def _extract_tar(tarred: tarfile.TarFile, to: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        tarred.extractall(to, filter="data")
    else:
        _extract_by_hand(tarred, to)
    # Python takes a tar that ends between two members for whole; it ends with zeros.
    assert tarred.fileobj is not None
    tarred.fileobj.seek(tarred.offset)
    if tarred.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it does not end as a tar file does")


def _extract_by_hand(tarred: tarfile.TarFile, to: Path) -> None:
    # Python before 3.11.4 has no filters (Debian 12 ships 3.11.2): files alone, inside.
    members = tarred.getmembers()
    for member in members:
        is_inside = (to / member.name).resolve().is_relative_to(to.resolve())
        if not is_inside or not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name!r} is no file inside the archive")
    tarred.extractall(to, members)


def _single_folder(folder: Path) -> Path:
    """Archives usually hold one folder; what is wrong is then said of that."""
    inner = subfolders(folder)
    return inner[0] if len(inner) == 1 else folder


def stem(archive: Path) -> str:
    """The archive's name without its suffixes."""
    lower = archive.name.lower()
    longest = max((s for s in SUFFIXES if lower.endswith(s)), key=len)
    return archive.name[: -len(longest)]

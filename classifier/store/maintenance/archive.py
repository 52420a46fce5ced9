"""Exported versions as one zip file: its manifest and files, written and checked.

`manifest.json` describes versions and runs. `files/<sha256>` are their files, each once
however many versions have it. Nothing in it is run or unpickled, and no name in it
becomes a path before it is checked.
"""

import hashlib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from pydantic import TypeAdapter, ValidationError

from classifier.bundle.strict_json import parse_json
from classifier.console.exits import WrongUsage
from classifier.storage import atomic_write
from classifier.store.maintenance.records import ModelRecord, RunRecord

SCHEMA = 1
MANIFEST = "manifest.json"
READ_BYTES = 1 << 20

LONGEST_MANIFEST = 1 << 28
"""Bytes; 100 versions of one run with 10,000 points of metrics take 3 MB."""

MOST_RATIO = 100
"""A file that is deflated to less than this part of itself is a zip bomb. Reports and
tables of ours are deflated to a tenth; the format's limit is 1,032."""

SMALL_BYTES = 1 << 20
"""Files up to this size may be deflated to any part."""

DEFLATED = frozenset({".csv", ".html", ".json", ".md", ".onnx", ".txt"})
"""Other files hardly become smaller."""

_ENTRY = re.compile(r"files/[0-9a-f]{64}")
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class BadArchive(WrongUsage, ValueError):
    """The file is no whole export, or one that must not be unpacked."""


Files = dict[str, str]
"""sha256 of files, by their paths with `/`."""


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    record: ModelRecord
    files: Files
    digest: str
    """Of its first id and its files; the same in each store that has the model."""


@dataclass(frozen=True, kw_only=True)
class KeptVersion:
    number: str
    aliases: list[str]
    tags: dict[str, str]
    fp32: KeptModel
    int8: KeptModel | None = None


@dataclass(frozen=True, kw_only=True)
class KeptRun:
    record: RunRecord
    files: Files = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    schema: int
    made_by: str
    model: str
    versions: list[KeptVersion]
    runs: list[KeptRun]
    comparisons: list[KeptRun]


_MANIFEST = TypeAdapter(Manifest)


def model_digest(made_id: str, files: Files) -> str:
    lines = [made_id, *(f"{path}\t{digest}" for path, digest in sorted(files.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class ArchiveWriter:
    """An archive that is being written."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self._written: set[str] = set()

    def add_folder(self, folder: Path | None, *, without: frozenset[str]) -> Files:
        """Add the files below a folder, links followed; return their digests."""
        paths = [] if folder is None else sorted(folder.rglob("*"))
        return {
            path.relative_to(folder).as_posix(): self._add(path)
            for path in paths
            if folder is not None and path.is_file() and path.name not in without
        }

    def _add(self, path: Path) -> str:
        with path.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        if digest in self._written:
            return digest
        # The date is zip's first, so that the same versions are the same file.
        entry = zipfile.ZipInfo(f"files/{digest}")
        if path.suffix in DEFLATED:
            entry.compress_type = zipfile.ZIP_DEFLATED
        entry.file_size = path.stat().st_size  # above 2 GB the entry is of zip64
        with path.open("rb") as source, self._file.open(entry, "w") as target:
            shutil.copyfileobj(source, target, READ_BYTES)
        self._written.add(digest)
        return digest

    def add_manifest(self, manifest: Manifest) -> None:
        entry = zipfile.ZipInfo(MANIFEST)
        entry.compress_type = zipfile.ZIP_DEFLATED
        self._file.writestr(entry, _MANIFEST.dump_json(manifest, indent=1))


@contextmanager
def write_archive(path: Path) -> Iterator[ArchiveWriter]:
    """Write an archive, which takes its place when it is whole."""
    with atomic_write(path) as partial, zipfile.ZipFile(partial, "w") as file:
        yield ArchiveWriter(file)


class Archive:
    """An archive whose manifest was read, and whose entries were looked at."""

    def __init__(self, file: zipfile.ZipFile, size: int) -> None:
        """Raises BadArchive."""
        self._file = file
        self.entries = _checked_entries(file, size)
        self.manifest = _read_manifest(file)
        self._check_complete()

    def _check_complete(self) -> None:
        kept = [self.manifest.runs, self.manifest.comparisons]
        groups = [run.files for runs in kept for run in runs]
        for version in self.manifest.versions:
            groups += [m.files for m in (version.fp32, version.int8) if m is not None]
        for path, digest in (pair for files in groups for pair in files.items()):
            _check_path(path)
            if f"files/{digest}" not in self.entries:
                raise BadArchive(f"{path!r:.80}, sha256 {digest!r:.70}, is not in it")

    @property
    def unpacked_bytes(self) -> int:
        """Of all files, unpacked."""
        return sum(entry.file_size for entry in self.entries.values())

    def check_digests(self) -> None:
        """Read all files once. Raises BadArchive for one that is damaged."""
        for name, entry in self.entries.items():
            if name != MANIFEST:
                self._copy(entry, None)

    def unpack(self, files: Mapping[str, str], folder: Path) -> Path:
        """Write the files into the folder, checked once more."""
        for path, digest in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                self._copy(self.entries[f"files/{digest}"], file)
        return folder

    def _copy(self, entry: zipfile.ZipInfo, target: IO[bytes] | None) -> None:
        digest, left = hashlib.sha256(), entry.file_size
        try:
            with self._file.open(entry) as source:
                while chunk := source.read(READ_BYTES):
                    left -= len(chunk)
                    digest.update(chunk)
                    if target is not None:
                        target.write(chunk)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise BadArchive(f"{entry.filename} is damaged: {error}") from error
        if left != 0 or entry.filename != f"files/{digest.hexdigest()}":
            raise BadArchive(f"{entry.filename} is damaged: its sha256 is another")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Raises BadArchive with the file's name, or OSError."""
    try:
        with zipfile.ZipFile(path) as file:
            yield Archive(file, path.stat().st_size)
    except (BadArchive, zipfile.BadZipFile, NotImplementedError) as error:
        raise BadArchive(
            f"{path} cannot be imported: {error}; export the versions again"
        ) from error


def _checked_entries(file: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in file.infolist():
        name = entry.filename
        if name != MANIFEST and not _ENTRY.fullmatch(name):
            raise BadArchive(f"{name!r:.80} is no name of an export's file")
        if name in entries:
            raise BadArchive(f"{name} is in it twice")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BadArchive(f"{name} is a link")
        if entry.flag_bits & 1:
            raise BadArchive(f"{name} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadArchive(f"{name} is neither stored nor deflated")
        if entry.file_size > max(SMALL_BYTES, MOST_RATIO * entry.compress_size):
            raise BadArchive(
                f"{name} would be unpacked from {entry.compress_size:,} to "
                f"{entry.file_size:,} bytes, as a zip bomb is"
            )
        entries[name] = entry
    # Entries of a bomb may share their bytes.
    if sum(entry.compress_size for entry in entries.values()) > size:
        raise BadArchive("its entries overlap, as those of a zip bomb do")
    if MANIFEST not in entries:
        raise BadArchive(f"it has no {MANIFEST}; it is no export of flipside")
    return entries


def _read_manifest(file: zipfile.ZipFile) -> Manifest:
    if file.getinfo(MANIFEST).file_size > LONGEST_MANIFEST:
        raise BadArchive(f"{MANIFEST} has more than {LONGEST_MANIFEST:,} bytes")
    data = file.read(MANIFEST)
    try:
        document = parse_json(data)
        schema = document.get("schema") if isinstance(document, dict) else None
        if schema != SCHEMA:
            raise BadArchive(
                f"its schema is {schema!r:.40}, and this flipside reads {SCHEMA}; use "
                f"the flipside that made it ({document.get('made_by')!r:.40})"
                if isinstance(document, dict)
                else f"{MANIFEST} is no object"
            )
        manifest = _MANIFEST.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadArchive(f"{MANIFEST} is wrong at {place}: {first['msg']}") from error
    except ValueError as error:
        if isinstance(error, BadArchive):
            raise
        raise BadArchive(f"{MANIFEST} cannot be read: {error}") from error
    _check_ids(manifest)
    return manifest


def _check_ids(manifest: Manifest) -> None:
    """Raises BadArchive for ids that MLflow never gives, or that nothing in it has."""
    runs = {run.record.run_id for run in manifest.runs}
    ids = runs | {run.record.run_id for run in manifest.comparisons}
    for version in manifest.versions:
        if not re.fullmatch(r"[1-9][0-9]{0,8}", version.number):
            raise BadArchive(f"{version.number!r:.40} is no number of a version")
        for kept in filter(None, (version.fp32, version.int8)):
            ids.add(kept.record.model_id)
            if kept.record.run_id not in runs:
                raise BadArchive(f"the run of version {version.number} is not in it")
            if kept.digest != model_digest(kept.record.model_id, kept.files):
                raise BadArchive(f"the digest of version {version.number} is another")
    for each in ids:
        if not _ID.fullmatch(each):
            raise BadArchive(f"{each!r:.80} is no id of MLflow's")


def _check_path(path: str) -> None:
    """Raises BadArchive for a path that leaves its folder, or would elsewhere."""
    parts = PurePosixPath(path).parts
    is_plain = parts and path == "/".join(parts) and not {"..", "/"} & {*parts}
    if not is_plain or any(ord(c) < 32 or c in "\\:" for c in path):
        raise BadArchive(f"{path!r:.80} is no path below a version's folder")

"""Archives that tools of other systems made, and unsafe archives."""

import gzip
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from classifier.datasets.archives import HARMLESS_BYTES, MOST_HEADER_BYTES
from classifier.datasets.dataset import BadDataset, part_digest
from classifier.storage import DiskTooSmall
from tests.classifier.conftest import Open
from tests.conftest import encoded, picture

PNG = encoded(picture(), "PNG")


def _zipped(archive: Path, *names: str | zipfile.ZipInfo) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, PNG)
    return archive


def _zipped_as(archive: Path, raw: bytes, *, extra: bytes = b"") -> Path:
    """One image with this name, without the flag for UTF-8."""
    placeholder = zipfile.ZipInfo("x" * len(raw))
    placeholder.extra = extra
    _zipped(archive, placeholder)
    data = archive.read_bytes().replace(placeholder.filename.encode(), raw)
    archive.write_bytes(data)
    return archive


FORMATS = {
    **{".zip": "zip", ".tar": "tar", ".tar.gz": "gztar", ".tgz": "gztar"},
    **{".tar.xz": "xztar", ".txz": "xztar", ".tar.bz2": "bztar", ".tbz2": "bztar"},
}


def _pack(folder: Path, suffix: str) -> Path:
    base = str(folder.with_name("packed"))
    made = shutil.make_archive(base, FORMATS[suffix], folder.parent, folder.name)
    return Path(made).rename(base + suffix)


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_archive_is_the_same_data_set(tiny: Path, open_: Open, suffix: str) -> None:
    archive = _pack(tiny, suffix)

    dataset = open_(archive)

    assert dataset.source == str(archive)
    assert dataset.name == "tiny-imagenet"
    assert part_digest(dataset.val) == part_digest(open_(tiny).val)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_a_cut_off_archive_is_named_and_leaves_nothing_behind(
    tiny: Path, open_: Open, tmp_path: Path, suffix: str
) -> None:
    archive = _pack(tiny, suffix)
    original = archive.read_bytes()
    archive.write_bytes(original[: len(original) // 2])

    with pytest.raises(BadDataset, match=r"packed\..* is cut off or damaged"):
        open_(archive)
    _check_nothing_left(tmp_path)


@pytest.mark.parametrize("cut", [0, 100, 512])
def test_a_tar_that_ends_between_two_files_is_cut_off(
    tiny: Path, open_: Open, cut: int
) -> None:
    archive = _pack(tiny, ".tar")
    with tarfile.open(archive) as tarred:
        last = tarred.getmembers()[-3]
    archive.write_bytes(archive.read_bytes()[: last.offset + cut])

    with pytest.raises(BadDataset, match="cut off or damaged"):
        open_(archive)


@pytest.mark.parametrize("place", ["", "flowers", "archive/dataset"])
def test_data_is_found_a_folder_or_two_deep_and_beside_others(
    folders: Path, open_: Open, tmp_path: Path, place: str
) -> None:
    digest = part_digest(open_(folders).val)
    outer = tmp_path / "outer"
    shutil.copytree(folders, outer / place, dirs_exist_ok=True)
    for other in ("__MACOSX/val/x", "docs", "models/val"):
        (outer / other).mkdir(parents=True)
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", outer))

    for source in (outer, archive):
        dataset = open_(source)
        assert part_digest(dataset.val) == digest
        assert dataset.source == str(source)
    assert dataset.name == "packed"
    assert open_(outer).name == "outer"


def test_errors_of_the_content_name_the_archive(
    folders: Path, open_: Open, tmp_path: Path
) -> None:
    (folders / "val").rename(folders / "Valid")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, folders.name)

    with pytest.raises(
        BadDataset, match=r"packed\.zip/my flowers has 'train' and 'Valid': ren"
    ):
        open_(tmp_path / "packed.zip")


def test_two_data_sets_in_one_folder_are_named_and_refused(
    folders: Path, open_: Open, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        shutil.copytree(folders, tmp_path / "both" / name)

    archive = shutil.make_archive(str(tmp_path / "both"), "zip", tmp_path / "both")

    for source in (tmp_path / "both", archive):
        message = rf"{source} holds 2 data sets: one, two; name"
        with pytest.raises(BadDataset, match=message):
            open_(source)


def test_backslashes_of_windows_separate_folders(open_: Open, tmp_path: Path) -> None:
    names = [f"data\\{part}\\cat\\{n}.png" for part in ("train", "val") for n in "01"]

    dataset = open_(_zipped(tmp_path / "windows.zip", "data\\", *names))

    assert dataset.val.names == ("0.png", "1.png")
    assert set(dataset.val.class_ids) == {"cat"}


def _unicode_path(raw: bytes, name: str) -> bytes:
    value = struct.pack("<BL", 1, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(value)) + value


@pytest.mark.parametrize(
    ("raw", "extra"),
    [
        ("val/Katze/Rosée.png".encode(), b""),
        ("val/Katze/Rosée.png".encode("cp437"), b""),
        (
            b"val/Katze/Ros?e.png",
            _unicode_path(b"val/Katze/Ros?e.png", "val/Katze/Rosée.png"),
        ),
    ],
    ids=["UTF-8 without its flag", "code page 437", "Info-ZIP's field"],
)
def test_names_in_a_zip_are_decoded(
    open_: Open, tmp_path: Path, raw: bytes, extra: bytes
) -> None:
    archive = _zipped_as(tmp_path / "names.zip", raw, extra=extra)

    assert open_(archive, want_train=False).val.names == ("Rosée.png",)


@pytest.mark.parametrize("encoding", ["gbk", "euc-kr", "koi8-r", "cp1252"])
def test_names_in_an_unknown_code_page_are_refused(
    open_: Open, tmp_path: Path, encoding: str
) -> None:
    word = {"gbk": "玫瑰", "euc-kr": "장미", "koi8-r": "роза", "cp1252": "Blüte"}[
        encoding
    ]
    archive = _zipped_as(tmp_path / "names.zip", f"val/{word}/0.png".encode(encoding))

    with pytest.raises(BadDataset, match=r"is not UTF-8.*unzip -O GBK"):
        open_(archive, want_train=False)


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize("target", ["../../../outside.png", "/etc/hostname"])
def test_a_link_out_of_an_archive_is_refused(
    open_: Open, tmp_path: Path, suffix: str, target: str
) -> None:
    archive = tmp_path / f"links.{suffix}"
    if suffix == "zip":
        info = zipfile.ZipInfo("val/cat/0.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr(info, target)
    else:
        member = tarfile.TarInfo("val/cat/0.png")
        member.type, member.linkname = tarfile.SYMTYPE, target
        with tarfile.open(archive, "w") as tarred:
            tarred.addfile(member)

    with pytest.raises(
        BadDataset, match=rf"'val/cat/0\.png' in .*is a link to '{target}'.*--data"
    ):
        open_(archive)
    _check_nothing_left(tmp_path)


def test_a_hard_link_to_nothing_is_refused(open_: Open, tmp_path: Path) -> None:
    member = tarfile.TarInfo("val/cat/0.png")
    member.type, member.linkname = tarfile.LNKTYPE, "val/cat/1.png"
    with tarfile.open(tmp_path / "links.tar", "w") as tarred:
        tarred.addfile(member)

    with pytest.raises(BadDataset, match=r"0\.png.* is a link to 'val/cat/1\.png'"):
        open_(tmp_path / "links.tar")


@pytest.mark.parametrize("name", ["../../outside.png", "val\\..\\..\\outside.png"])
def test_names_in_a_zip_that_lead_outside_are_refused(
    open_: Open, tmp_path: Path, name: str
) -> None:
    with pytest.raises(BadDataset, match="lies outside the archive's folder"):
        open_(_zipped(tmp_path / "evil.zip", name))
    assert not list(tmp_path.rglob("outside.png"))


@pytest.mark.parametrize("has_filter", [True, False])
def test_names_in_a_tar_that_lead_outside_are_refused(
    open_: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_filter: bool
) -> None:
    if not has_filter:  # as before Python 3.11.4
        monkeypatch.delattr(tarfile, "data_filter")
    with tarfile.open(tmp_path / "evil.tar", "w") as tarred:
        tarred.addfile(tarfile.TarInfo("../../outside.png"))

    with pytest.raises(BadDataset, match=r"evil\.tar"):
        open_(tmp_path / "evil.tar")
    assert not list(tmp_path.rglob("outside.png"))


def _bomb(archive: Path, size: int) -> Path:
    """An archive that declares `size` bytes but has few."""
    if archive.suffix == ".zip":
        _zipped(archive, "val/cat/0.png")
        data = bytearray(archive.read_bytes())
        entry = data.rindex(b"PK\x01\x02")
        struct.pack_into("<L", data, entry + 24, size)
        archive.write_bytes(data)
        return archive
    member = tarfile.TarInfo("val/cat/0.png")
    member.size = size
    archive.write_bytes(member.tobuf() + bytes(tarfile.BLOCKSIZE))
    return archive


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_a_bomb_is_refused_before_it_is_unpacked(
    open_: Open, tmp_path: Path, suffix: str
) -> None:
    archive = _bomb(tmp_path / f"bomb.{suffix}", HARMLESS_BYTES + 1)

    with pytest.raises(BadDataset, match=r"unpacks to 1,074 MB or more, .* times its"):
        open_(archive)
    _check_nothing_left(tmp_path)


def test_a_header_that_would_fill_the_memory_is_refused(
    open_: Open, tmp_path: Path
) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, MOST_HEADER_BYTES + 1
    archive = tmp_path / "bomb.tar.gz"
    archive.write_bytes(gzip.compress(header.tobuf() + bytes(header.size + 511), 1))

    with pytest.raises(BadDataset, match=r"it has a header of 16,777,728 bytes"):
        open_(archive)


def test_an_archive_that_does_not_fit_the_disk_is_not_unpacked(
    open_: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    archive = _zipped(tmp_path / "large.zip", "val/cat/0.png")

    with pytest.raises(
        DiskTooSmall, match=r"takes 0\.00 MB in .*, and 0\.00 MB are free there; make"
    ):
        open_(archive)
    _check_nothing_left(tmp_path)


def test_an_encrypted_zip_is_refused(open_: Open, tmp_path: Path) -> None:
    archive = _zipped(tmp_path / "secret.zip", "val/cat/0.png")
    data = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    archive.write_bytes(data)

    with pytest.raises(BadDataset, match=r"encrypted.*unpack it yourself"):
        open_(archive)


def test_an_archive_with_names_that_clash_is_refused(
    open_: Open, tmp_path: Path
) -> None:
    archive = _zipped(tmp_path / "clash.zip", "val", "val/cat/0.png")

    with pytest.raises(BadDataset, match="cut off or damaged"):
        open_(archive)


def _check_nothing_left(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    left = [path for path in cache.rglob("*") if path.suffix != ".lock"]
    assert left in ([], [cache / "unpacked"])

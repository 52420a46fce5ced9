"""Files written whole, folders built once, room and checksums."""

import errno
import os
import signal
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from classifier.storage import (
    CHUNK_BYTES,
    BadPlace,
    DiskTooSmall,
    NotWritable,
    alone,
    atomic_write,
    build_file_once,
    build_once,
    check_room,
    file_checksums,
    make_folder,
    megabytes,
    remove_files,
    take_room,
    write_in_reserve,
)

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from classifier.storage import atomic_write

with atomic_write(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_that_is_killed_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("before")

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(file)], check=False
    )

    assert killed.returncode == -signal.SIGKILL
    assert file.read_text() == "before"
    remove_files(tmp_path, ["x", "absent"])
    assert not os.listdir(tmp_path)


def test_a_writer_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("before")

    def fail() -> None:
        with atomic_write(file) as partial:
            partial.write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()

    assert os.listdir(tmp_path) == ["x"]
    assert file.read_text() == "before"


@pytest.mark.parametrize("name", ["/proc/x", "file/x", "x" * 256])
def test_a_folder_that_cannot_be_made_is_named_with_its_flag(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / name

    message = f"cannot make the folder {folder}: .*; name another with --out"
    with pytest.raises(BadPlace, match=message):
        make_folder(folder, flag="--out")


def test_a_full_disk_is_named_with_the_file_that_was_not_written(
    tmp_path: Path,
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail() -> None:
        with atomic_write(tmp_path / "x"):
            raise full

    with pytest.raises(NotWritable, match=r"cannot write .*/x: No space .*; make room"):
        fail()


def test_a_reserve_that_is_larger_than_the_data_replaces_the_file(
    tmp_path: Path,
) -> None:
    file, reserve = tmp_path / "x", tmp_path / "reserve"
    file.write_text("before")
    take_room(reserve, 1000)

    write_in_reserve(file, b"after", reserve)

    assert os.listdir(tmp_path) == ["x"]
    assert file.read_text() == "after"


KILLED_BUILDER = """
import os, signal, sys
from pathlib import Path
from classifier.storage import build_once

def build(folder):
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

build_once(Path(sys.argv[1]), build)
"""


def test_a_folder_that_many_threads_need_is_built_once(tmp_path: Path) -> None:
    builds = []

    def build(folder: Path) -> None:
        builds.append(folder)
        (folder / "file").write_text("whole")

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: build_once(tmp_path / "x", build), range(8)))

    assert len(builds) == 1
    assert {(folder / "file").read_text() for folder in folders} == {"whole"}


def test_a_folder_is_built_again_after_its_builder_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BUILDER, str(folder)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not folder.exists()

    build_once(folder, lambda to: (to / "whole").touch())

    assert os.listdir(folder) == ["whole"]


def test_a_builder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        build_once(tmp_path / "x", fail)

    assert [path.name for path in tmp_path.iterdir()] == [".x.lock"]


def test_a_damaged_folder_is_built_again_once(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "damaged").touch()
    builds = []

    def build(to: Path) -> None:
        builds.append(to)
        (to / "whole").touch()

    def wanted(_: int) -> Path:
        return build_once(folder, build, is_whole=lambda at: (at / "whole").exists())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(wanted, range(8))) == {folder}

    assert len(builds) == 1
    assert os.listdir(folder) == ["whole"]


def test_a_file_that_many_threads_need_is_built_once(tmp_path: Path) -> None:
    builds = []

    def build(file: Path) -> None:
        builds.append(file)
        file.write_text("whole")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: build_file_once(tmp_path / "x", build), range(8)))

    assert len(builds) == 1
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "whole"


@pytest.mark.parametrize("left", ["folder", "file"])
def test_a_file_is_built_where_a_killed_process_left_a_part(
    tmp_path: Path, left: str
) -> None:
    partial = tmp_path / ".x.partial"
    if left == "folder":
        partial.mkdir()
        (partial / "x").write_text("half")
    else:
        partial.write_text("half")

    build_file_once(tmp_path / "x", Path.touch)

    assert os.listdir(tmp_path) == ["x"]


def test_the_error_of_a_full_disk_has_both_numbers_and_the_remedy(
    tmp_path: Path,
) -> None:
    with pytest.raises(
        DiskTooSmall,
        match=r"a run takes 1,000,000,000 MB in .*/new, and [\d,]+ MB are free there; "
        "train less",
    ):
        check_room(tmp_path / "new", 10**15, purpose="a run", remedy="train less")


def test_a_future_folder_has_the_room_of_its_disk(tmp_path: Path) -> None:
    check_room(tmp_path / "a" / "b", 1, purpose="a run", remedy="train less")

    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("count", "text"), [(1_228_800_128, "1,229 MB"), (20_000, "0.02 MB")]
)
def test_megabytes_are_decimal(count: int, text: str) -> None:
    assert megabytes(count) == text


def test_each_chunk_has_the_crc32_of_its_bytes(tmp_path: Path) -> None:
    data = os.urandom(1000) + bytes(2 * CHUNK_BYTES)
    (tmp_path / "file").write_bytes(data)

    checksums = file_checksums(tmp_path / "file")

    assert checksums == [
        zlib.crc32(data[start : start + CHUNK_BYTES])
        for start in range(0, len(data), CHUNK_BYTES)
    ]
    assert len(checksums) == 3


@pytest.mark.parametrize("position", [0, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES])
def test_one_changed_bit_changes_the_checksum_of_its_chunk(
    tmp_path: Path, position: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * CHUNK_BYTES + 1))
    before = file_checksums(path)
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"\x01")

    after = file_checksums(path)

    changed = [chunk for chunk in range(3) if before[chunk] != after[chunk]]
    assert changed == [position // CHUNK_BYTES]


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert file_checksums(tmp_path / "file") == []


HOLDING = """
import sys
from pathlib import Path
from classifier.storage import share

share(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("name", ["folder", "file"])
def test_what_another_process_shares_is_not_ours_alone_until_that_ends(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / name

    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with alone(path) as is_alone:
            assert not is_alone
        process.kill()

    with alone(path) as is_alone, alone(path) as is_alone_again:
        assert is_alone
        assert not is_alone_again


def test_what_is_absent_is_ours_alone(tmp_path: Path) -> None:
    with alone(tmp_path / "absent") as is_alone:
        assert is_alone

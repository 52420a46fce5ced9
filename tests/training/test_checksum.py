"""Checksums of big files: right, and other after any change."""

import os
import zlib
from pathlib import Path

import pytest

from training.checksum import CHUNK_BYTES, file_checksums


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

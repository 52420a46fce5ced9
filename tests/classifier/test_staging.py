"""Folders that are built whole or not at all."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from classifier.staging import build_once

KILLED_BUILDER = """
import os, signal, sys
from pathlib import Path
from classifier.staging import build_once

def build(folder):
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

build_once(Path(sys.argv[1]), build)
"""


def test_many_who_want_a_folder_get_it_built_once(tmp_path: Path) -> None:
    builds = []

    def build(folder: Path) -> None:
        builds.append(folder)
        (folder / "file").write_text("whole")

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: build_once(tmp_path / "x", build), range(8)))

    assert len(builds) == 1
    assert {(folder / "file").read_text() for folder in folders} == {"whole"}


def test_a_builder_that_was_killed_leaves_nothing_that_is_read(tmp_path: Path) -> None:
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

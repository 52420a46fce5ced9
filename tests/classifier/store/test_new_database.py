"""A new database is whole or not there, whoever is killed and whoever else comes."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from classifier.store import database
from classifier.store.database import make_database
from classifier.store.registry import Registry

WAIT_SECONDS = 120.0
DYING = """
import os, pathlib, signal, sys
import alembic.runtime.migration as migration
from classifier.store.database import make_database

run = migration.HeadMaintainer.update_to_step
left = 9

def die_in_between(self, step):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    run(self, step)

migration.HeadMaintainer.update_to_step = die_in_between
make_database(pathlib.Path(sys.argv[1]))
"""


def test_who_dies_while_making_it_leaves_none_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    file = tmp_path / "new" / "mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(file)],
        timeout=WAIT_SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == -signal.SIGKILL
    assert (file.parent / ".mlflow.db.partial").exists()
    assert not file.exists()

    registry = Registry(f"sqlite:///{file}", create=True)

    assert registry.client.get_experiment("0").name == "Default"
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


def test_a_database_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table mine (n int)")
    before = file.read_bytes()

    make_database(file)

    assert file.read_bytes() == before


def test_a_database_that_appears_meanwhile_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mlflow.db"

    def make_while_another_is_put_there(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"ours")
        file.write_bytes(b"another's")

    monkeypatch.setattr(database, "_make_tables", make_while_another_is_put_there)

    make_database(file)

    assert file.read_bytes() == b"another's"
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]

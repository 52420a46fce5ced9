"""A store's database: made whole, and refused if another MLflow made it."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from shutil import copy

import pytest

from classifier.store.location import StoreUnavailable
from classifier.store.maintenance import database as database_module
from classifier.store.maintenance.database import check_schema, make_database
from classifier.store.registry import Registry

WAIT_SECONDS = 120.0
OLDER, NEWER = "75868b020152", "ffffffffffff"
"""A revision of MLflow from before 3.17, and one that no MLflow knows."""

DYING = """
import os, pathlib, signal, sys
import alembic.runtime.migration as migration
from classifier.store.maintenance.database import make_database

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


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Registry(f"sqlite:///{path}", create=True)
    return path


@pytest.mark.parametrize(
    ("revision", "remedy"),
    [
        (OLDER, r"an older MLflow .* `mlflow db upgrade sqlite:///.*mlflow\.db`"),
        (NEWER, r"a newer MLflow made it; install that one here"),
    ],
)
def test_a_database_of_another_mlflow_is_refused_and_not_changed(
    database: Path, tmp_path: Path, revision: str, remedy: str
) -> None:
    other = Path(copy(database, tmp_path))
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
        # MLflow migrates when a table is missing.
        connection.execute("DROP TABLE trace_tags")
    before = other.read_bytes()

    for create in (True, False):
        message = f"its schema is {revision}.*{remedy}"
        with pytest.raises(StoreUnavailable, match=message):
            Registry(f"sqlite:///{other}", create=create)
    assert other.read_bytes() == before


def test_a_database_of_this_mlflow_and_an_empty_one_pass(
    database: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.db").touch()

    check_schema(f"sqlite:///{database}")
    check_schema(f"sqlite:///{tmp_path / 'empty.db'}")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("text, not a database" * 100)

    with pytest.raises(StoreUnavailable, match="not a database"):
        Registry(f"sqlite:///{path}")


def test_a_killed_process_leaves_no_database_and_blocks_nobody(tmp_path: Path) -> None:
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


def test_an_existing_database_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table mine (n int)")
    before = file.read_bytes()

    make_database(file)

    assert file.read_bytes() == before


def test_a_database_that_another_program_makes_meanwhile_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mlflow.db"

    def make_while_another_is_put_there(built: Path) -> None:
        built.write_bytes(b"ours")
        file.write_bytes(b"another's")

    monkeypatch.setattr(
        database_module, "_make_tables", make_while_another_is_put_there
    )

    make_database(file)

    assert file.read_bytes() == b"another's"
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_folder_that_cannot_be_written_is_an_unavailable_store(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match=r"cannot make the store .*mlflow\.db"):
        Registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", create=True)

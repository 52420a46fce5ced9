"""Databases of other MLflows: refused with the remedy, and left as they are."""

import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copy

import pytest

from classifier.store.database import check_schema
from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry

OLDER, NEWER = "75868b020152", "ffffffffffff"
"""A revision of MLflow's from before 3.17, and one that no MLflow here can know."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Registry(f"sqlite:///{path}", create=True)
    return path


def _of_another_mlflow(database: Path, folder: Path, revision: str) -> Path:
    path = Path(copy(database, folder))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    return path


@pytest.mark.parametrize(
    ("revision", "remedy"),
    [
        (OLDER, r"an older MLflow .* `mlflow db upgrade sqlite:///.*mlflow\.db`"),
        (NEWER, r"a newer MLflow made it; install that one here"),
    ],
)
def test_a_database_of_another_mlflow_is_refused_with_the_remedy(
    database: Path, tmp_path: Path, revision: str, remedy: str
) -> None:
    other = _of_another_mlflow(database, tmp_path, revision)

    with pytest.raises(StoreUnavailable, match=f"its schema is {revision}.*{remedy}"):
        Registry(f"sqlite:///{other}", create=True)


@pytest.mark.parametrize("revision", [OLDER, NEWER])
def test_a_database_is_not_changed_unasked(
    database: Path, tmp_path: Path, revision: str
) -> None:
    other = _of_another_mlflow(database, tmp_path, revision)
    with closing(sqlite3.connect(other)) as connection, connection:
        # a missing table is what makes MLflow migrate
        connection.execute("DROP TABLE trace_tags")
    before = other.read_bytes()

    with pytest.raises(StoreUnavailable):
        Registry(f"sqlite:///{other}")

    assert other.read_bytes() == before


def test_a_database_of_this_mlflow_and_an_empty_one_are_in_order(
    database: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.db").touch()

    check_schema(f"sqlite:///{database}")
    check_schema(f"sqlite:///{tmp_path / 'empty.db'}")


def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("text, not a database" * 100)

    with pytest.raises(StoreUnavailable, match="not a database"):
        Registry(f"sqlite:///{path}")

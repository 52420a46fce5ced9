"""The store's database: made whole, and only opened if this MLflow made its schema."""

import os
from pathlib import Path
from typing import Any

import mlflow
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event

from classifier.console.exits import system_error
from classifier.storage import build_file_once
from classifier.store.location import StoreUnavailable


class SchemaMismatch(RuntimeError):
    """The database was made by an older or a newer MLflow."""


def make_database(file: Path) -> None:
    """Create an SQLite file with MLflow's tables if `file` is absent.

    MLflow creates them in many steps, in 1 s. A process that is killed in between
    would leave a database that looks like an older MLflow's. Raises StoreUnavailable
    if the file cannot be written.
    """
    try:
        build_file_once(file, _make_tables)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot make the store {file}: {system_error(error)}; name another place "
            f"with MLFLOW_TRACKING_URI"
        ) from error


def _make_tables(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # MLflow makes its engine out of sight; none other connects in the meantime.
    event.listen(Engine, "connect", _write_in_memory)
    try:
        # ./mlruns is the root of the experiment "Default", as in MLflow's own clients.
        SqlAlchemyStore(f"sqlite:///{file}", "./mlruns").engine.dispose()
    finally:
        event.remove(Engine, "connect", _write_in_memory)
    with file.open("r+b") as made:
        os.fsync(made.fileno())


def _write_in_memory(connection: Any, _: object) -> None:
    """Lets no transaction of this connection wait for the disk.

    MLflow makes the tables in small steps, which waited 1,084 times: 4 of 5 seconds.
    After a kill or a power cut in between, the file is not in its place yet.
    """
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


def check_schema(uri: str) -> None:
    """Raises SchemaMismatch, with the remedy, if another MLflow made the database.

    An empty database passes. MLflow 3.17 itself upgrades an older database without
    asking if a table is missing (the older MLflow can then no longer read it), and
    refuses it otherwise. For a newer database it suggests `mlflow db upgrade`, which
    cannot work, or fails with alembic's CommandError.
    """
    found = _schema(uri)
    if not found:
        return
    folder = Path(mlflow.__file__).parent / "store" / "db_migrations"
    scripts = ScriptDirectory(str(folder))
    expected = scripts.get_heads()
    if found == set(expected):
        return
    here = f"MLflow {mlflow.__version__}"
    fault = f"its schema is {', '.join(sorted(found))}, that of {here} {expected[0]}"
    try:
        scripts.get_revisions(tuple(found))
    except CommandError:
        raise SchemaMismatch(
            f"{fault}, which does not know the other: a newer MLflow made it; install "
            "that one here, or name another store with MLFLOW_TRACKING_URI"
        ) from None
    raise SchemaMismatch(
        f"{fault}: an older MLflow made it; copy the database, then run `mlflow db "
        f"upgrade {uri}` (older MLflows cannot use it afterwards)"
    )


def _schema(uri: str) -> set[str]:
    """The database's revisions, in practice one; none if it is empty."""
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            return set(MigrationContext.configure(connection).get_current_heads())
    finally:
        engine.dispose()

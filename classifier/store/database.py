"""Whether the MLflow installed here can use a store's database as it is."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine


class SchemaMismatch(RuntimeError):
    """The database was made by an older or a newer MLflow."""


def check_schema(uri: str) -> None:
    """SchemaMismatch, with what to do, where another MLflow made the database.

    MLflow 3.17 itself, when it opens the database of an older one, brings it up to date
    unasked if a table is missing (then the older MLflow can no longer read it) and
    refuses if none is. Of a newer one it advises `mlflow db upgrade`, which cannot
    work, or dies of alembic's CommandError. An empty database is in order.
    """
    found = _schema(uri)
    if not found:
        return
    scripts = ScriptDirectory(str(_migrations()))
    expected = scripts.get_heads()
    if found == set(expected):
        return
    here = f"MLflow {version('mlflow-skinny')}"
    what = f"its schema is {', '.join(sorted(found))}, that of {here} {expected[0]}"
    try:
        scripts.get_revisions(tuple(found))
    except CommandError:
        raise SchemaMismatch(
            f"{what}, which does not know the other: a newer MLflow made it; install "
            "that one here, or name another store with MLFLOW_TRACKING_URI"
        ) from None
    raise SchemaMismatch(
        f"{what}: an older MLflow made it; copy the database, then run `mlflow db "
        f"upgrade {uri}` (older MLflows cannot use it afterwards)"
    )


def _schema(uri: str) -> set[str]:
    """The database's revisions, one in practice; empty in an empty database."""
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            return set(MigrationContext.configure(connection).get_current_heads())
    finally:
        engine.dispose()


def _migrations() -> Path:
    spec = find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "store" / "db_migrations"


def make_database(file: Path) -> None:
    """MLflow's tables in an SQLite `file`, unless it is there.

    MLflow makes them in many steps and 1 s; a process that is killed meanwhile leaves a
    database that looks like an older MLflow's. So they are made beside it, under a name
    that is taken over from who died, and put in place. One process does, others wait;
    a file that someone else puts there meanwhile is theirs to keep.
    """
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with _locked(file.parent):
        if file.exists():
            return
        partial = file.with_name(f".{file.name}.partial")
        partial.unlink(missing_ok=True)
        partial.with_name(f"{partial.name}-journal").unlink(missing_ok=True)
        _make_tables(f"sqlite:///{partial}")
        _put(partial, file)


def _put(partial: Path, file: Path) -> None:
    """Renames, but leaves a `file` that is there as it is."""
    try:
        os.link(partial, file)
    except FileExistsError:
        pass
    except OSError:  # a disk without hard links, as exFAT
        partial.rename(file)
        return
    partial.unlink()


def _make_tables(uri: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # The root of the experiment "Default", as MLflow's own clients have it.
    SqlAlchemyStore(uri, "./mlruns").engine.dispose()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The kernel's lock on the folder itself: it leaves no file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

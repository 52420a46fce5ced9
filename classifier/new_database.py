"""A store's new database: made whole or not at all."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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

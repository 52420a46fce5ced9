"""Places of files in a store's database, changed where they moved to another folder.

MLflow keeps absolute places in five columns of four tables.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    select,
    update,
)

from classifier.console.exits import WrongUsage

RUNS = "mlruns"
"""Folder beside the database in which a store keeps its files."""


class PlaceTooLong(WrongUsage, ValueError):
    """MLflow's column does not hold so long a place."""


def columns() -> list[tuple[Table, "Column[Any]"]]:
    """The tables, and their columns with places."""
    names = (
        (SqlExperiment, "artifact_location"),
        (SqlRun, "artifact_uri"),
        (SqlLoggedModel, "artifact_location"),
        (SqlModelVersion, "source"),
        (SqlModelVersion, "storage_location"),
    )
    return [(kind.__table__, kind.__table__.c[name]) for kind, name in names]


@dataclass(frozen=True)
class Change:
    """The rows of a column that get another place."""

    table: Table
    column: "Column[Any]"
    rows: Sequence[tuple[tuple[Any, ...], str, str]]
    """Primary key, old place and new place."""

    @property
    def name(self) -> str:
        return f"{self.table.name}.{self.column.name}"


def open_database(uri: str) -> Engine:
    return create_engine(uri)


def read_places(connection: Connection) -> list[Change]:
    """All rows with their places, old and new the same."""
    return [
        Change(
            table,
            column,
            [
                (tuple(row[:-1]), row[-1], row[-1])
                for row in connection.execute(select(*table.primary_key, column))
                if row[-1]
            ],
        )
        for table, column in columns()
    ]


def with_moves(places: Sequence[Change], moves: Mapping[str, str]) -> list[Change]:
    """The rows that `moves`, old folder -> new one, change.

    Raises PlaceTooLong.
    """
    changes = []
    for place in places:
        moved = ((key, old, moved_place(old, moves)) for key, old, _ in place.rows)
        rows = [row for row in moved if row[1] != row[2]]
        longest = getattr(place.column.type, "length", None)
        for _, _, new in rows:
            if longest is not None and len(new) > longest:
                raise PlaceTooLong(
                    f"{new} has {len(new)} characters, and MLflow keeps {longest} in "
                    f"{place.name}; move the store to a folder with a shorter path"
                )
        if rows:
            changes.append(Change(place.table, place.column, rows))
    return changes


def moved_place(place: str, moves: Mapping[str, str]) -> str:
    """The place below the new folder, as a path or as the URL that it was."""
    for old, new in moves.items():
        forms = [(old, new)]
        if "://" not in old:
            forms += [(_url(old), _url(new)), (f"file://{old}", f"file://{new}")]
        for before, after in forms:
            # A second time nothing moves, also if the new folder is in the old one.
            if _is_below(place, after) and not _is_below(before, after):
                return place
            if _is_below(place, before):
                return after + place[len(before) :]
    return place


def _is_below(place: str, folder: str) -> bool:
    return place == folder or place.startswith(f"{folder}/")


def _url(folder: str) -> str:
    return Path(folder).as_uri()


def find_moves(places: Iterable[str], home: Path) -> dict[str, str]:
    """The folders in which the store was before, all -> `home`, where its files are.

    A folder counts if a place in it ends like a path that exists below home/mlruns.
    """
    found: Counter[str] = Counter()
    for place in places:
        folder = local_path(place)
        if folder is None or folder.resolve().is_relative_to(home.resolve()):
            continue
        for index, part in enumerate(folder.parts):
            rest = folder.parts[index + 1 :]
            if part == RUNS and rest and home.joinpath(RUNS, *rest).exists():
                found[str(PurePosixPath(*folder.parts[:index]))] += 1
                break
    return {old: str(home) for old, _ in found.most_common()}


def local_path(place: str) -> Path | None:
    """None if it is no absolute path and no URL of a file."""
    try:
        url = urlparse(place)
    except ValueError:  # half an IPv6 address
        return None
    if url.scheme == "file":
        return Path(unquote(url.path))
    return Path(place) if place.startswith("/") else None


def write_places(connection: Connection, changes: Iterable[Change]) -> None:
    """Write the new places, in the transaction of the connection."""
    for change in changes:
        keys = list(change.table.primary_key)
        statement = update(change.table)
        for key in keys:
            statement = statement.where(key == bindparam(f"key_{key.name}"))
        connection.execute(
            statement.values({change.column: bindparam("new_place")}),
            [
                {"new_place": new}
                | {f"key_{k.name}": v for k, v in zip(keys, values, strict=True)}
                for values, _, new in change.rows
            ],
        )

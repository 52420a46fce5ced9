"""`relocate`: a store that was moved works in its new folder."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from classifier.__main__ import main
from classifier.store.maintenance.places import moved_place
from classifier.store.registry import Registry
from tests.classifier.upkeep.killed import Commands
from tests.classifier.upkeep.test_prune import KILLS
from tests.conftest import Store


@pytest.fixture
def moved(
    many: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Store]:
    """The folder where the store was, which is gone, and the store where it is."""
    folder = tmp_path / "a new place"
    shutil.move(many.folder, folder)
    made = Store(folder, many.model)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    return many.folder, made


def _text(store: Store) -> str:
    with closing(sqlite3.connect(store.folder / "mlflow.db")) as database:
        return "\n".join(database.iterdump())


def test_a_moved_store_is_mended_without_being_told_where_it_was(
    moved: tuple[Path, Store],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, store = moved
    assert str(old) in _text(store)

    assert main(["relocate", "--yes"]) == 0

    assert str(old) not in _text(store)
    said = capsys.readouterr().out
    assert f"{old} -> {store.folder}" in said
    assert "9 logged_models.artifact_location" in said
    monkeypatch.setattr(mlflow, "active_run", lambda: None)
    mlflow.set_tracking_uri(store.uri)
    try:
        version = mlflow.pyfunc.load_model(f"models:/{store.model}/8")
    finally:
        mlflow.set_tracking_uri(None)
    assert version.metadata.run_id
    registry = store.registry
    run_id = registry.resolve(store.model, "1").run_id
    assert "diagnosis.md" in {f.path for f in registry.client.list_artifacts(run_id)}


def test_a_second_time_nothing_is_changed(
    moved: tuple[Path, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["relocate", "--yes"])
    before = _text(moved[1])
    capsys.readouterr()

    assert main(["relocate"]) == 0
    assert main(["relocate", str(moved[0]), str(moved[1].folder), "--yes"]) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert _text(moved[1]) == before


def test_old_and_new_folder_may_be_named(moved: tuple[Path, Store]) -> None:
    old, store = moved

    assert main(["relocate", str(old), str(store.folder), "--yes"]) == 0
    assert str(old) not in _text(store)


@pytest.mark.parametrize(("flags", "code"), [(["--dry-run"], 0), ([], 2)])
def test_nothing_is_changed_without_yes(
    flags: list[str], code: int, moved: tuple[Path, Store]
) -> None:
    before = _text(moved[1])

    assert main(["relocate", *flags]) == code
    assert _text(moved[1]) == before


@pytest.mark.parametrize(
    ("store", "folders", "words"),
    [
        ("http://127.0.0.1:1", [], "run this where its database is"),
        ("sqlite:///x.db", ["/a"], "name FROM and TO"),
        ("sqlite:///x.db", ["/a", "/no/such/folder"], "there is no folder"),
    ],
)
def test_what_cannot_be_mended_is_refused_in_words(
    store: str,
    folders: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    assert main(["relocate", *folders]) == 2
    assert words in capsys.readouterr().err


def test_a_place_that_mlflow_cannot_keep_is_refused(
    moved: tuple[Path, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, store = moved
    long = tmp_path / ("x" * 120) / ("y" * 120)
    long.mkdir(parents=True)

    assert main(["relocate", str(old), str(long), "--yes"]) == 2
    assert "characters, and MLflow keeps" in capsys.readouterr().err
    assert str(old) in _text(store)


@pytest.mark.parametrize(
    ("place", "moved_to"),
    [
        ("/a/mlruns/1", "/b c/mlruns/1"),
        ("/a", "/b c"),
        ("/ab/mlruns/1", "/ab/mlruns/1"),
        ("file:///a/mlruns/1", "file:///b%20c/mlruns/1"),
        ("s3://bucket/a/1", "s3://bucket/a/1"),
        ("models:/m-1", "models:/m-1"),
    ],
)
def test_a_place_moves_with_its_folder(place: str, moved_to: str) -> None:
    moves = {"/a": "/b c"}

    assert moved_place(place, moves) == moved_to
    assert moved_place(moved_to, moves) == moved_to


def test_a_folder_may_move_into_itself_and_out_of_itself() -> None:
    assert moved_place("/a/x", {"/a": "/a/b"}) == "/a/b/x"
    assert moved_place("/a/b/x", {"/a": "/a/b"}) == "/a/b/x"
    assert moved_place("/a/b/x", {"/a/b": "/a"}) == "/a/x"
    assert moved_place("s3://b/x", {"s3://b": "s3://c/d"}) == "s3://c/d/x"


@KILLS
def test_relocate_that_is_killed_changes_all_places_or_none(
    kills: int, moved: tuple[Path, Store], commands: Commands, tmp_path: Path
) -> None:
    old, store = moved
    places = Registry(store.uri)
    steps = commands.run(["relocate", "--dry-run"], uri=store.uri).steps
    database = store.folder / "mlflow.db"
    kept = tmp_path / "kept.db"
    shutil.copy(database, kept)
    whole = commands.run(["relocate", "--yes"], uri=store.uri)
    assert whole.steps > steps
    changed = _text(store)
    chance = random.Random(kills)

    for _ in range(kills):
        shutil.copy(kept, database)
        before = _text(store)
        at = chance.randrange(1, whole.steps + 1)
        assert commands.run(["relocate", "--yes"], uri=store.uri, at=at).code == -9
        assert _text(store) in (before, changed)
    assert commands.run(["relocate", "--yes"], uri=store.uri).code == 0
    assert _text(store) == changed
    assert str(old) not in changed
    assert len(places.versions(store.model)) == 8

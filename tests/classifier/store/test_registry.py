"""Versions in MLflow's registry: names, files, moved stores."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from classifier.bundle.files import NoBundle
from classifier.store.calls import BadVariable
from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry
from classifier.store.versions import UnknownModel
from tests.conftest import Store


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Store:
    return store.copy(tmp_path / "store")


@pytest.fixture
def moved(store: Store, tmp_path: Path) -> Iterator[Store]:
    """The store's database in another place; its old folder is not there."""
    shutil.copy(store.folder / "mlflow.db", tmp_path)
    hidden = store.folder.with_name("hidden")
    store.folder.rename(hidden)
    yield Store(tmp_path, store.model)
    hidden.rename(store.folder)


def test_reading_makes_no_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"

    with pytest.raises(StoreUnavailable, match=r"no MLflow store at .*mlflow\.db"):
        Registry(f"sqlite:///{path}")

    assert not path.exists()


@pytest.mark.skipif(find_spec("MySQLdb") is not None, reason="its driver is installed")
def test_a_database_whose_driver_is_missing_is_told_in_words() -> None:
    with pytest.raises(StoreUnavailable, match="takes the library 'MySQLdb', which"):
        Registry("mysql://nobody@127.0.0.1:9/none")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "a"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "perhaps"),
    ],
)
def test_a_variable_that_mlflow_cannot_read_is_wrong_usage(
    store: Store, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    for uri in (store.uri, "http://127.0.0.1:9"):
        with pytest.raises(BadVariable, match=f"variable {name}: .*{value}"):
            Registry(uri)

    monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MLFLOW_OF_A_PLUGIN", value)
    Registry(store.uri)


def test_a_single_registered_model_needs_no_name(store: Store) -> None:
    assert store.registry.model_name(None) == store.model
    with pytest.raises(UnknownModel, match=f"no model 'x'; .* {store.model}"):
        store.registry.model_name("x")


def test_several_registered_models_are_listed(copy: Store) -> None:
    copy.registry.client.create_registered_model("another")

    with pytest.raises(UnknownModel, match=f"--model: another, {copy.model}"):
        copy.registry.model_name(None)


def test_a_store_that_was_moved_as_a_whole_is_found(moved: Store, store: Store) -> None:
    files = store.folder.with_name("hidden") / "mlruns"
    shutil.copytree(files, moved.folder / "mlruns")

    folder = moved.bundle("v1").folder

    assert folder.is_relative_to(moved.folder)


def test_the_error_of_absent_files_says_where_they_were(moved: Store) -> None:
    with pytest.raises(StoreUnavailable, match="files of version 1 are not at"):
        moved.bundle("v1")


def test_a_version_of_another_tool_has_no_files_of_ours(copy: Store) -> None:
    registry = copy.registry
    registry.client.create_model_version(copy.model, source="runs:/elsewhere/model")

    with pytest.raises(NoBundle, match="version 3 of 'digits-tiny' has no logged"):
        registry.fetch(registry.resolve(copy.model, "v3"))


def test_a_version_whose_logged_model_is_deleted_has_no_files(copy: Store) -> None:
    registry = copy.registry
    version = registry.resolve(copy.model, "v1")
    assert version.model_id is not None
    registry.client.delete_logged_model(version.model_id)

    with pytest.raises(NoBundle, match="of version 1 was deleted from the store"):
        registry.fetch(version)


def test_reading_a_version_writes_nothing_into_the_store(store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}

    store.bundle("latest")

    assert before == {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}


def test_mlflow_loads_a_version_and_gives_its_logits(copy: Store) -> None:
    """MLflow writes into the folder that it loads, so it gets a copy."""
    import mlflow

    from classifier.networks.image_classifier import ImageClassifier
    from training.evaluation.evaluate import evaluate

    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    mlflow.set_tracking_uri(copy.uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{copy.model}/2")
    finally:
        mlflow.set_tracking_uri(None)

    logits = model.predict({"images": images})["logits"]

    classifier = ImageClassifier.from_bundle(copy.bundle("v2"))
    expected = evaluate(classifier, images, np.zeros(3, np.int64)).logits
    np.testing.assert_allclose(logits, expected, atol=1e-4)  # fp32 summation order


@pytest.mark.parametrize(
    "name", ["it's", 'the "best"', 'it\'s "best"', "' OR '1'='1", "50 %", "back\\slash"]
)
def test_a_model_may_have_any_name_that_mlflow_takes(
    name: str, registry: Registry
) -> None:
    for registered in (name, "it_s _best_", "another"):
        registry.client.create_registered_model(registered)
        registry.client.create_model_version(
            registered, source="/nowhere", await_creation_for=0
        )

    assert registry.has_model(name)
    assert [(v.model, v.number) for v in registry.versions(name)] == [(name, "1")]
    assert not registry.has_model(f"{name}s")


def test_models_beyond_the_first_page_are_found(registry: Registry) -> None:
    for number in range(101):  # MLflow lists 100 at once
        registry.client.create_registered_model(f"m-{number:03}")

    assert registry.model_name("m-100") == "m-100"


def test_an_alias_of_an_unknown_version_needs_the_whole_list(copy: Store) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    known = copy.registry.versions(copy.model)
    assert copy.registry.versions_since(copy.model, known) == known

    assert copy.registry.versions_since(copy.model, known[1:]) is None


def test_a_look_sees_that_a_version_got_an_int8_form_or_was_deleted(
    copy: Store,
) -> None:
    """Neither adds a version; only the whole list then has what is new."""
    registry = copy.registry
    known = registry.versions(copy.model)
    assert registry.versions_since(copy.model, known) == known

    copy.registry.tag_version(known[0], {"int8_model_id": "m-int8"})
    assert registry.versions_since(copy.model, known) is None
    known = registry.versions(copy.model)
    assert registry.versions_since(copy.model, known) == known

    copy.registry.client.delete_model_version(copy.model, "1")
    assert registry.versions_since(copy.model, known) is None
    known = registry.versions(copy.model)
    assert [version.number for version in known] == ["2"]
    assert registry.versions_since(copy.model, known) == known


def test_files_at_an_invalid_address_are_unavailable(copy: Store) -> None:
    version = copy.registry.resolve(copy.model, "v1")
    with closing(sqlite3.connect(copy.folder / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE logged_models SET artifact_location = ? WHERE model_id = ?",
            ("http://[x", version.model_id),
        )

    with pytest.raises(StoreUnavailable, match="which is not a valid address"):
        copy.registry.fetch(version)

"""Versions in MLflow's registry: names, files, moved stores."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from classifier.bundle.files import NoBundle
from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry
from classifier.store.versions import UnknownModel
from tests.conftest import Store


def test_reading_makes_no_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"

    with pytest.raises(StoreUnavailable, match=r"no MLflow store at .*mlflow\.db"):
        Registry(f"sqlite:///{path}")

    assert not path.exists()


def test_a_single_registered_model_needs_no_name(store: Store) -> None:
    assert store.registry.model_name(None) == store.model
    with pytest.raises(UnknownModel, match=f"no model 'x'; .* {store.model}"):
        store.registry.model_name("x")


def test_several_registered_models_are_listed(store: Store, tmp_path: Path) -> None:
    shutil.copy(store.folder / "mlflow.db", tmp_path)
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}")
    registry.client.create_registered_model("another")

    with pytest.raises(UnknownModel, match=f"--model: another, {store.model}"):
        registry.model_name(None)


def test_a_store_that_was_moved_as_a_whole_is_found(
    store: Store, tmp_path: Path
) -> None:
    moved = shutil.copytree(store.folder, tmp_path / "moved")
    hidden = store.folder.with_name("hidden")
    store.folder.rename(hidden)
    try:
        registry = Registry(f"sqlite:///{moved / 'mlflow.db'}")
        folder = registry.fetch(registry.resolve(store.model, "v1"))
    finally:
        hidden.rename(store.folder)

    assert folder.is_relative_to(moved)
    assert (folder / "weights.safetensors").is_file()


def test_the_error_of_absent_files_says_where_they_were(
    store: Store, tmp_path: Path
) -> None:
    shutil.copy(store.folder / "mlflow.db", tmp_path)
    hidden = store.folder.with_name("hidden")
    store.folder.rename(hidden)
    try:
        registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}")
        version = registry.resolve(store.model, "v1")
        with pytest.raises(StoreUnavailable, match="files of version 1 are not at"):
            registry.fetch(version)
    finally:
        hidden.rename(store.folder)


def test_a_version_of_another_tool_has_no_files_of_ours(
    store: Store, tmp_path: Path
) -> None:
    copy = store.copy(tmp_path / "store")
    registry = copy.registry
    registry.client.create_model_version(copy.model, source="runs:/elsewhere/model")

    with pytest.raises(NoBundle, match="version 3 of 'digits-tiny' has no logged"):
        registry.fetch(registry.resolve(copy.model, "v3"))


def test_a_version_whose_logged_model_is_deleted_has_no_files(
    store: Store, tmp_path: Path
) -> None:
    copy = store.copy(tmp_path / "store")
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


def test_mlflow_loads_a_version_and_gives_its_logits(store: Store) -> None:
    import mlflow

    from classifier.networks import ImageClassifier
    from training.evaluation.evaluate import evaluate

    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    mlflow.set_tracking_uri(store.uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{store.model}/2")
    finally:
        mlflow.set_tracking_uri(None)

    logits = model.predict({"images": images})["logits"]

    classifier = ImageClassifier.from_bundle(store.bundle("v2"))
    expected = evaluate(classifier, images, np.zeros(3, np.int64)).logits
    np.testing.assert_allclose(logits, expected, atol=1e-4)  # fp32 summation order


@pytest.mark.parametrize(
    "name", ["it's", 'the "best"', 'it\'s "best"', "' OR '1'='1", "50 %", "back\\slash"]
)
def test_a_model_may_have_any_name_that_mlflow_takes(name: str, tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", create=True)
    for registered in (name, "it_s _best_", "another"):
        registry.client.create_registered_model(registered)
        registry.client.create_model_version(
            registered, source="/nowhere", await_creation_for=0
        )

    assert registry.has_model(name)
    assert [(v.model, v.number) for v in registry.versions(name)] == [(name, "1")]
    assert not registry.has_model(f"{name}s")


def test_models_beyond_the_first_page_are_found(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", create=True)
    for number in range(101):  # MLflow lists 100 at once
        registry.client.create_registered_model(f"m-{number:03}")

    assert registry.model_name("m-100") == "m-100"


def test_an_alias_of_an_unknown_version_needs_the_whole_list(
    store: Store, tmp_path: Path
) -> None:
    copy = store.copy(tmp_path / "store")
    copy.registry.set_alias(copy.model, "live", "1")
    known = copy.registry.versions(copy.model)
    assert copy.registry.versions_since(copy.model, known) == known

    assert copy.registry.versions_since(copy.model, known[1:]) is None


def test_files_at_an_invalid_address_are_unavailable(
    store: Store, tmp_path: Path
) -> None:
    copy = store.copy(tmp_path / "store")
    version = copy.registry.resolve(copy.model, "v1")
    with closing(sqlite3.connect(copy.folder / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE logged_models SET artifact_location = ? WHERE model_id = ?",
            ("http://[x", version.model_id),
        )

    with pytest.raises(StoreUnavailable, match="which is not a valid address"):
        copy.registry.fetch(version)

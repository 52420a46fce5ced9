"""Experiments and the places of their artifacts; logged models and their digests."""

import hashlib
from pathlib import Path

import pytest

from classifier.store.artifacts import DIGESTS_TAG
from classifier.store.cache.entries import NOT_PUBLISHED
from classifier.store.location import StoreUnavailable
from classifier.store.logged_models import open_experiment
from classifier.store.registry import Registry
from tests.conftest import Store


def test_a_new_experiment_keeps_its_artifacts_beside_the_store(
    registry: Registry, tmp_path: Path
) -> None:
    made = open_experiment(registry, "compare", advice="")

    assert open_experiment(registry, "compare", advice="") == made
    location = registry.client.get_experiment(made).artifact_location
    assert location.removeprefix("file://") == str(tmp_path / "mlruns" / "compare")


def test_a_deleted_experiment_is_refused_with_the_advice(registry: Registry) -> None:
    made = open_experiment(registry, "compare", advice="")
    registry.client.delete_experiment(made)

    with pytest.raises(StoreUnavailable, match=f"--experiment-id {made}`, or wait"):
        open_experiment(registry, "compare", advice="wait")


def test_an_experiment_whose_artifacts_only_a_server_can_write_is_refused(
    registry: Registry,
) -> None:
    registry.client.create_experiment("compare", "mlflow-artifacts:/1")

    with pytest.raises(StoreUnavailable, match="keeps its artifacts on a server"):
        open_experiment(registry, "compare", advice="wait")


@pytest.mark.parametrize("name", ["v1", "v2", "v2.int8"])
def test_a_published_version_has_the_digest_of_each_of_its_files(
    quantised_store: Store, name: str
) -> None:
    registry = quantised_store.registry
    version = registry.resolve(quantised_store.model, name)
    files = [
        file
        for file in registry.fetch(version).rglob("*")
        if file.is_file() and file.name not in NOT_PUBLISHED
    ]

    assert version.model_id is not None
    assert registry.digests_of(version.model_id) == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
    assert {"MLmodel", "model.onnx", "requirements.txt"} <= {f.name for f in files}


@pytest.mark.parametrize(
    "text", [None, "", "{}", "[1]", '{"../x": "00"}', '{"model.onnx": "short"}']
)
def test_a_version_without_proper_digests_has_none(
    store: Store, tmp_path: Path, text: str | None
) -> None:
    copy = store.copy(tmp_path / "copy")
    registry = copy.registry
    model_id = registry.resolve(copy.model, "v1").model_id
    assert model_id is not None
    if text is None:
        registry.client.delete_logged_model_tag(model_id, DIGESTS_TAG)
    else:
        registry.client.set_logged_model_tags(model_id, {DIGESTS_TAG: text})

    assert registry.digests_of(model_id) == {}

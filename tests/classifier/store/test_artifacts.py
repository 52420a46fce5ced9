"""Files behind `mlflow server`: fetched once, verified, and there when it is away."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from classifier.bundle.files import GRAPH, KEPT_IMAGES
from classifier.storage import files_sha256
from classifier.store.artifacts import DIGESTS_TAG
from classifier.store.cache.entries import NOT_PUBLISHED
from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry
from tests.conftest import Store
from tests.mlflow_server import free_port, served_remotely


@pytest.fixture(scope="module")
def remote(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("remote") / "store"
    with served_remotely(store, folder, free_port()) as uri:
        yield uri


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {p.name: p.read_bytes() for p in found if p.name not in NOT_PUBLISHED}


def test_a_version_has_the_files_of_the_store(store: Store, remote: str) -> None:
    registry = Registry(remote)
    version = registry.resolve(store.model, "v1")

    bundle = registry.bundle(version)

    assert files(bundle.folder) == files(store.bundle("v1").folder)
    assert "xdg" in bundle.folder.parts


def test_what_differs_from_the_recorded_digest_is_not_loaded(
    store: Store, remote: str
) -> None:
    registry = Registry(remote)
    version = registry.resolve(store.model, "v2")
    folder = store.bundle("v2").folder
    digests = files_sha256(folder)

    def record(digests: dict[str, str]) -> None:
        tag = {DIGESTS_TAG: json.dumps(digests)}
        registry.client.set_logged_model_tags(str(version.model_id), tag)

    record({**digests, GRAPH: "0" * 64})
    with pytest.raises(StoreUnavailable, match=r"model\.onnx of .* 2 times"):
        registry.fetch(version)
    record(digests)
    assert files(registry.fetch(version)) == files(folder)


def test_what_was_fetched_is_there_while_the_store_is_away(
    store: Store, tmp_path: Path
) -> None:
    with served_remotely(store, tmp_path / "store", free_port()) as uri:
        registry = Registry(uri)
        first, second = registry.versions(store.model)
        fetched = registry.fetch(first)
        images = registry.file_of_run(str(first.run_id), KEPT_IMAGES)

    assert registry.fetch(first) == fetched
    assert registry.file_of_run(str(first.run_id), KEPT_IMAGES) == images
    with pytest.raises(StoreUnavailable, match="find the files of version 2"):
        registry.fetch(second)


def test_a_file_of_a_run_is_downloaded_once(store: Store, remote: str) -> None:
    registry = Registry(remote)
    run_id = str(registry.resolve(store.model, "v1").run_id)

    once = registry.file_of_run(run_id, KEPT_IMAGES)
    again = registry.file_of_run(run_id, KEPT_IMAGES)

    local = store.registry.file_of_run(run_id, KEPT_IMAGES)
    assert once is not None
    assert local is not None
    assert once == again
    assert once.read_bytes() == local.read_bytes()
    assert registry.file_of_run(run_id, "proof/nothing.npy") is None
    assert registry.file_of_run("0" * 32, KEPT_IMAGES) is None

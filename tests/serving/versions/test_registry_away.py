"""A service that starts while the registry is away serves what it served."""

import json
import urllib.request
from pathlib import Path

import pytest

from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry
from serving.versions.pool import AWAY
from serving.versions.registry_watch import RegistryWatch
from tests.conftest import RunningService, Store, serving, until
from tests.mlflow_server import free_port, served_remotely


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def entries(service: RunningService) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"{service.url}/versions") as answer:
        found: list[dict[str, object]] = json.load(answer)["versions"]
        return found


def metrics(service: RunningService) -> str:
    with urllib.request.urlopen(f"{service.url}/metrics") as answer:
        return str(answer.read(), "utf-8")


def test_a_service_starts_without_the_registry_and_follows_it_when_it_is_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, folder = free_port(), tmp_path / "store"
    remote = f"http://127.0.0.1:{port}"
    arguments = ["--versions", "@best", "--drain-seconds", "0"]
    arguments += ["--follow-seconds", "0.2"]
    with served_remotely(store, folder, port) as uri:
        Registry(uri).set_alias(store.model, "best", "1")
        with serving(remote, *arguments) as service:
            assert "registry_up 1.0" in metrics(service)

    with serving(remote, *arguments) as service:
        first = entries(service)[0]
        assert (first["version"], first["state"], first["reason"]) == (
            "1",
            "ready",
            AWAY,
        )
        assert "registry_up 0.0" in metrics(service)
        with served_remotely(store, folder, port) as uri:
            Registry(uri).set_alias(store.model, "best", "2")
            until(lambda: entries(service)[1]["state"] == "ready")
            assert {entry["reason"] for entry in entries(service)} == {None}


def test_versions_that_were_never_read_are_not_made_up(store: Store) -> None:
    registry = Registry(f"http://127.0.0.1:{free_port()}")

    with pytest.raises(StoreUnavailable):
        RegistryWatch(registry, store.model, every_seconds=600)

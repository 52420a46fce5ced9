"""Versions loaded and unloaded by the Open Inference Protocol's repository."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from flask import Flask
from flask.testing import FlaskClient
from tritonclient.utils import InferenceServerException

from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.versions.loading import open_pool
from serving.versions.pool import PredictorPool
from tests.conftest import (
    WAIT_SECONDS,
    RunningService,
    Store,
    encoded,
    picture,
    serving,
)

MODEL = "digits-tiny"
CHANGE = f"/v2/repository/models/{MODEL}"
RAW = {"Inference-Header-Content-Length": "0"}
PIXELS = bytes(16 * 16 * 3)


@pytest.fixture
def own_service(store: Store) -> Iterator[RunningService]:
    """With version 1 alone, to be changed."""
    with serving(store, "--versions", "v1", "--drain-seconds", "0") as service:
        yield service


def _open_pool(store: Store, versions: str) -> PredictorPool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        return open_pool(ServingConfig(versions=versions), Metrics())


def _app(pool: PredictorPool) -> Flask:
    return create_app(ServingConfig(), pool=pool)


def _index(client: FlaskClient, **body: bool) -> list[dict[str, Any]]:
    answer = client.post("/v2/repository/index", json=body)
    entries: list[dict[str, Any]] = answer.json  # type: ignore[assignment]  # an array
    return entries


def test_versions_come_and_go(own_service: RunningService) -> None:
    url = own_service.url
    tensor = triton.InferInput("images", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([encoded(picture(), "PNG")], dtype=np.object_))

    def states() -> dict[str, str]:
        index = client.get_model_repository_index()
        return {entry["version"]: entry["state"] for entry in index}

    def change(kind: str, version: str | int) -> None:
        body = {"parameters": {"version": version}}
        answer = requests.post(f"{url}{CHANGE}/{kind}", json=body, timeout=WAIT_SECONDS)
        assert answer.status_code == 200

    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        assert states() == {"1": "READY", "2": "UNAVAILABLE"}
        assert not client.is_model_ready(MODEL, "2")

        change("load", "v2")
        assert states() == {"1": "READY", "2": "READY"}
        assert client.infer(MODEL, [tensor], "2").get_response()
        change("unload", 2)
        assert states() == {"1": "READY", "2": "UNAVAILABLE"}

        client.load_model(MODEL, query_params={"version": "v2"})
        assert client.is_model_ready(MODEL, "2")

        client.unload_model(MODEL)
        assert client.is_server_ready()
        assert not client.is_model_ready(MODEL)
        with pytest.raises(InferenceServerException, match="is not served"):
            client.infer(MODEL, [tensor])
        client.load_model(MODEL)
        assert states() == {"1": "READY", "2": "UNAVAILABLE"}

        with pytest.raises(InferenceServerException, match="'config'"):
            client.load_model(MODEL, config="{}")
        with pytest.raises(InferenceServerException, match="no version 'v9'"):
            client.load_model(MODEL, query_params={"version": "v9"})


def test_until_versions_are_loaded_nothing_is_ready(store: Store) -> None:
    pool = _open_pool(store, "v2")
    client = _app(pool).test_client()

    assert client.get("/v2/health/live").json == {"live": True}
    for path in ("/v2/health/ready", f"/v2/models/{MODEL}/ready"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "load" in answer.json["error"]  # type: ignore[index]  # an object
    assert [entry["state"] for entry in _index(client)] == ["UNAVAILABLE", "LOADING"]

    pool.load_wanted()

    assert client.get("/v2/health/ready").json == {"ready": True, "live": True}
    assert [entry["version"] for entry in _index(client, ready=True)] == ["2"]


def test_with_all_a_version_is_loaded_when_it_is_first_asked_for(store: Store) -> None:
    pool = _open_pool(store, "all")
    pool.load_wanted()
    client = _app(pool).test_client()
    default = pool.get(None).version.number
    other = "1" if default == "2" else "2"
    versions = f"/v2/models/{MODEL}/versions"

    assert client.get(f"{versions}/{other}/ready").status_code == 503
    (reason,) = [e["reason"] for e in _index(client) if e["version"] == other]
    assert "when it is first asked for" in reason
    metadata = client.get(f"/v2/models/{MODEL}").json
    assert metadata is not None
    assert metadata["versions"] == ["1", "2"]
    answer = client.post(f"{versions}/{other}/infer", data=PIXELS, headers=RAW)
    assert answer.status_code == 200
    assert client.get(f"{versions}/{other}/ready").status_code == 200


def test_with_all_the_default_version_can_be_taken_away_and_brought_back(
    store: Store,
) -> None:
    pool = _open_pool(store, "all")
    pool.load_wanted()
    client = _app(pool).test_client()
    infer = f"/v2/models/{MODEL}/infer"

    assert client.post(f"{CHANGE}/unload").status_code == 200
    assert client.post(infer, data=PIXELS, headers=RAW).status_code == 404
    assert client.post(f"{CHANGE}/load").status_code == 200
    assert client.post(infer, data=PIXELS, headers=RAW).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"parameters": [1]}',
        b'{"parameters": {"version": true}}',
        b'{"parameters": {"versions": "1"}}',
    ],
)
def test_a_change_that_cannot_be_read_changes_nothing(
    store: Store, body: bytes
) -> None:
    pool = _open_pool(store, "v1")
    pool.load_wanted()
    client = _app(pool).test_client()

    answer = client.post(f"{CHANGE}/unload", data=body)

    assert answer.status_code == 400
    assert client.get(f"/v2/models/{MODEL}/ready").status_code == 200


def test_a_change_brings_no_large_body(store: Store) -> None:
    client = _app(_open_pool(store, "v1")).test_client()

    answer = client.post(f"{CHANGE}/load", data=b" " * (64 * 1024 + 1))

    assert answer.status_code == 413

"""Imported versions over HTTP: answered from their graph, refused by torch."""

from pathlib import Path
from typing import get_args

import pytest

from classifier.hardware import BackendKind
from classifier.inference.backends.open import plugin_version
from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.versions.loading import open_pool
from tests.conftest import Store, encoded, picture
from tests.training.publishing.foreign import write_graph
from training.__main__ import main


def test_an_imported_version_is_served_and_has_no_network_for_torch(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = store.copy(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    file = write_graph(tmp_path / "x.onnx", made.bundle("2"))
    assert main(["--import", str(file), "--model", made.model]) == 0

    answers = {}
    for backend in get_args(BackendKind):
        if backend == "openvino" and plugin_version() is None:
            continue
        config = ServingConfig(versions="all", backend=backend)
        pool = open_pool(config, Metrics())
        pool.load_wanted()
        client = create_app(config, pool=pool).test_client()
        answers[backend] = client.post("/predict?version=3", data=encoded(picture()))
        pool.close()

    for runs_graphs in answers.keys() - {"torch"}:
        assert answers[runs_graphs].status_code == 200
    assert answers["torch"].status_code == 503
    error = answers["torch"].get_json()["error"]
    assert error["code"] == "version_failed"
    assert "imported from an ONNX file, which torch cannot run" in error["message"]

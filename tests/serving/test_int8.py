"""Int8 forms beside versions, over HTTP."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from classifier.datasets.dataset import Dataset
from classifier.hardware import DeviceUnavailable
from classifier.inference.backends import open as engines
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.backends.open import plugin_version
from classifier.inference.predict import predict
from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.versions.loading import open_pool
from serving.versions.slot import NotReady, VersionFailed
from tests.conftest import Store


def _client(store: Store, config: ServingConfig) -> FlaskClient:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        pool = open_pool(config, Metrics())
    pool.load_wanted()
    return create_app(config, pool=pool).test_client()


@pytest.fixture(scope="module")
def client(quantised_store: Store) -> FlaskClient:
    return _client(quantised_store, ServingConfig(versions="v2,best.int8,v1"))


def _get(client: FlaskClient, path: str) -> Any:
    return client.get(path).json


def _predict(client: FlaskClient, data: bytes, query: str) -> Any:
    form = {"image": [(BytesIO(data), "x.png")]}
    return client.post(f"/predict?{query}", data=form)


def test_both_forms_answer_in_one_request_each_as_its_files_do(
    client: FlaskClient, quantised_store: Store, digits: Dataset
) -> None:
    data = digits.val.files[0].read_bytes()

    answer = _predict(client, data, "version=v2&version=v2.int8&version=@best.int8")

    results = answer.json["results"]
    assert [row["version"] for row in results] == ["2", "2.int8"]
    for row in results:
        bundle = quantised_store.bundle(row["version"])
        backend = OnnxBackend.for_one_batch_at_a_time(bundle)
        ((expected,),) = predict([data], bundle, backend, count=1)
        top = row["top"][0]
        assert top["index"] == expected.index
        # fp32, seven printed digits
        assert top["probability"] == pytest.approx(expected.probability, abs=1e-5)


def test_an_int8_form_is_an_entry_of_its_own(
    client: FlaskClient, quantised_store: Store
) -> None:
    form = quantised_store.registry.resolve(quantised_store.model, "v2.int8")

    listed = _get(client, "/versions")["versions"]
    entry = _get(client, "/versions/v2.int8")

    assert [each["version"] for each in listed] == ["1", "2", "2.int8"]
    assert (entry["version"], entry["state"]) == ("2.int8", "ready")
    assert entry["val_top1_accuracy"] == form.val_top1_accuracy
    assert (entry["epoch"], entry["aliases"]) == (2, [])
    assert (entry["run_id"], len(entry["labels"])) == (form.run_id, 10)
    assert entry["dataset"]["name"] == "digits"


def test_an_int8_form_that_is_not_served_or_made_is_unknown(
    client: FlaskClient, quantised_store: Store, digits: Dataset
) -> None:
    data = digits.val.files[0].read_bytes()
    without = _client(quantised_store, ServingConfig(versions="v2"))

    for service, name in ((client, "v1.int8"), (without, "v2.int8")):
        answer = _predict(service, data, f"version={name}")
        assert answer.status_code == 404
        assert f"'{name}' is not served" in answer.json["error"]["message"]
    refusal = _get(client, "/versions/v1.int8")["error"]
    assert refusal["code"] == "unknown_version"
    assert "--quantize v1 --data PATH" in refusal["message"]


def test_a_service_without_a_list_loads_an_int8_form_on_demand(
    quantised_store: Store, digits: Dataset
) -> None:
    service = _client(quantised_store, ServingConfig(versions="all"))

    answer = _predict(service, digits.val.files[0].read_bytes(), "version=2.int8")

    assert [row["version"] for row in answer.json["results"]] == ["2.int8"]
    assert _get(service, "/versions/2.int8")["state"] == "ready"


def test_torch_refuses_an_int8_form_and_names_the_backend_that_does_not(
    quantised_store: Store, digits: Dataset
) -> None:
    config = ServingConfig(versions="v2.int8", backend="torch")
    with pytest.raises(VersionFailed, match="use --backend onnx"):
        _client(quantised_store, config)

    service = _client(quantised_store, ServingConfig(versions="all", backend="torch"))
    data = digits.val.files[0].read_bytes()
    answer = _predict(service, data, "version=v2.int8")

    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "version_failed"
    assert "use --backend onnx" in answer.json["error"]["message"]


def test_precision_int8_answers_with_the_int8_form_under_the_versions_name(
    quantised_store: Store, digits: Dataset
) -> None:
    data = digits.val.files[0].read_bytes()
    service = _client(quantised_store, ServingConfig(precision="int8"))
    plain = _client(quantised_store, ServingConfig())

    answer = _predict(service, data, "version=v2")
    both = _predict(plain, data, "version=v2&version=v2.int8")

    assert answer.headers["X-Served-As"] == "onnx;int8"
    assert both.headers["X-Served-As"] == "onnx;fp32, onnx;int8"
    expected = both.json["results"][1]["top"]
    assert answer.json["results"] == [{"image": 0, "version": "2", "top": expected}]
    entry = _get(service, "/versions/v2")
    assert (entry["backend"], entry["precision"]) == ("onnx", "int8")
    text = service.get("/metrics").text
    assert "serving_model_info{" in text
    assert 'precision="int8"' in text


def test_a_version_without_an_int8_form_says_how_to_make_it(
    quantised_store: Store, digits: Dataset
) -> None:
    service = _client(quantised_store, ServingConfig(precision="int8"))

    answer = _predict(service, digits.val.files[0].read_bytes(), "version=v1")

    assert answer.status_code == 503
    error = answer.json["error"]
    assert error["code"] == "not_ready"
    assert "make it with python -m training --quantize v1" in error["message"]
    assert "X-Served-As" not in answer.headers
    with pytest.raises(NotReady, match="no int8 form"):
        _client(quantised_store, ServingConfig(versions="v1", precision="int8"))


@pytest.mark.skipif(plugin_version() is None, reason="no extra openvino")
def test_openvino_serves_versions_and_int8_forms(
    quantised_store: Store, digits: Dataset
) -> None:
    data = digits.val.files[0].read_bytes()
    plain = _client(quantised_store, ServingConfig())
    service = _client(quantised_store, ServingConfig(backend="openvino"))

    expected = _predict(plain, data, "version=v2").json["results"][0]["top"]
    answer = _predict(service, data, "version=v2&version=v2.int8")

    assert answer.headers["X-Served-As"] == "openvino;fp32, openvino;int8"
    top = answer.json["results"][0]["top"]
    assert [row["index"] for row in top] == [row["index"] for row in expected]
    assert top[0]["probability"] == pytest.approx(expected[0]["probability"], abs=1e-5)
    assert _get(service, "/v2/models/digits-tiny")["platform"] == "onnx_onnxv1"


def test_an_engine_that_is_not_installed_is_refused_at_the_start(
    quantised_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "plugin_version", lambda: None)

    with pytest.raises(DeviceUnavailable, match="is not installed; install"):
        _client(quantised_store, ServingConfig(backend="openvino"))


def test_an_int8_form_answers_alike_alone_and_in_a_batch(
    quantised_store: Store,
) -> None:
    network = OnnxBackend.for_one_batch_at_a_time(quantised_store.bundle("v2.int8"))
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)

    together = network.logits(images)

    # scales are fixed at calibration, so only the fp32 layer's order of sums differs
    alone = np.concatenate([network.logits(image[None]) for image in images])
    np.testing.assert_allclose(alone, together, atol=1e-5)

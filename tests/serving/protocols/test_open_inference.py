"""The Open Inference Protocol, asked by tritonclient as people use it."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from flask.testing import FlaskClient
from tritonclient.utils import InferenceServerException
from werkzeug.test import TestResponse

from classifier.datasets.dataset import Dataset
from classifier.metrics import softmax
from serving.app import create_app
from serving.config import ServingConfig
from serving.versions.pool import PredictorPool
from tests.conftest import WAIT_SECONDS, RunningService, Store

MODEL = "digits-tiny"
INFER = f"/v2/models/{MODEL}/infer"
HEADER = "Inference-Header-Content-Length"

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def address(service: RunningService) -> str:
    return service.url.removeprefix("http://")


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture(scope="module")
def files(digits: Dataset) -> list[bytes]:
    return [file.read_bytes() for file in digits.val.files[::300]]


@pytest.fixture(scope="module")
def images(store: Store, files: list[bytes]) -> Array:
    return np.stack([store.bundle("1").preprocessing.image(data) for data in files])


@pytest.fixture(scope="module")
def expected(service: RunningService, files: list[bytes]) -> Array:
    """Probabilities [N, K] of version 2, by POST /predict."""
    form = [("image", (f"{n}.png", data)) for n, data in enumerate(files)]
    answer = requests.post(
        f"{service.url}/predict?version=v2&top_k=10", files=form, timeout=WAIT_SECONDS
    )
    rows = [
        {entry["index"]: entry["probability"] for entry in result["top"]}
        for result in answer.json()["results"]
    ]
    return np.array([[row[index] for index in range(10)] for row in rows])


@pytest.fixture
def local(pool: PredictorPool) -> FlaskClient:
    """Within this process, for what no client sends."""
    return create_app(ServingConfig(), pool=pool).test_client()


def _pixels(images: Array, *, is_binary: bool = True) -> triton.InferInput:
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    return tensor.set_data_from_numpy(images, binary_data=is_binary)


def _encoded(files: list[bytes]) -> triton.InferInput:
    tensor = triton.InferInput("images", [len(files)], "BYTES")
    return tensor.set_data_from_numpy(np.array(files, dtype=np.object_))


def _in_base64(files: list[bytes]) -> triton.InferInput:
    """JSON holds no bytes."""
    texts = np.array([base64.b64encode(data) for data in files], dtype=np.object_)
    tensor = triton.InferInput("images", [len(files)], "BYTES")
    return tensor.set_data_from_numpy(texts, binary_data=False)


def test_the_server_says_that_it_lives_and_what_it_can(
    client: triton.InferenceServerClient,
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "flipside"
    assert {"binary_tensor_data", "classification"} <= {*metadata["extensions"]}


def test_a_model_is_described_with_its_tensors(
    client: triton.InferenceServerClient,
) -> None:
    metadata = client.get_model_metadata(MODEL, "v2")

    assert metadata == {
        "name": MODEL,
        "versions": ["1", "2"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 16, 16, 3]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    }
    assert client.get_model_metadata(MODEL) == metadata
    config = client.get_model_config(MODEL)
    assert config["max_batch_size"] == 256
    assert config["input"][0]["dims"] == [16, 16, 3]
    assert [output["dims"] for output in config["output"]] == [[10]]


def test_versions_are_named_as_everywhere(
    client: triton.InferenceServerClient,
) -> None:
    for name in ("", "1", "v1", "v2", "best", "@best", "latest"):
        assert client.is_model_ready(MODEL, name), name
    for name in ("3", "worst", "2.int8"):
        assert not client.is_model_ready(MODEL, name), name
    assert not client.is_model_ready("another")


@pytest.mark.parametrize("kind", ["uint8", "uint8 json", "bytes", "bytes json"])
def test_every_form_of_an_input_gives_the_answer_of_predict(
    client: triton.InferenceServerClient,
    kind: str,
    files: list[bytes],
    images: Array,
    expected: Array,
) -> None:
    inputs = {
        "uint8": _pixels(images),
        "uint8 json": _pixels(images, is_binary=False),
        "bytes": _encoded(files),
        "bytes json": _in_base64(files),
    }

    result = client.infer(MODEL, [inputs[kind]], model_version="v2", request_id="a-1")

    response = result.get_response()
    assert (response["model_name"], response["model_version"]) == (MODEL, "2")
    assert response["id"] == "a-1"
    assert [output["name"] for output in response["outputs"]] == ["probabilities"]
    probabilities = result.as_numpy("probabilities")
    assert probabilities.dtype == np.float32
    # /predict prints seven digits
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


def test_a_client_for_models_with_one_input_and_one_output_is_served(
    client: triton.InferenceServerClient,
    store: Store,
    images: Array,
    expected: Array,
) -> None:
    """As Triton's image_client.py asks: it takes all it needs from the metadata."""
    metadata = client.get_model_metadata(MODEL, "2")
    config = client.get_model_config(MODEL, "2")
    assert [len(metadata[what]) for what in ("inputs", "outputs")] == [1, 1]
    assert [len(config[what]) for what in ("input", "output")] == [1, 1]
    assert len(metadata["inputs"][0]["shape"]) == 3 + (config["max_batch_size"] > 0)
    assert config["input"][0]["format"] == "FORMAT_NHWC"
    assert metadata["outputs"][0]["datatype"] == "FP32"

    tensor = triton.InferInput(
        metadata["inputs"][0]["name"],
        list(images.shape),
        metadata["inputs"][0]["datatype"],
    ).set_data_from_numpy(images)
    name = metadata["outputs"][0]["name"]
    wanted = triton.InferRequestedOutput(name, class_count=1)
    result = client.infer(MODEL, [tensor], "2", outputs=[wanted])

    classes = [row[0].decode().split(":") for row in result.as_numpy(name)]
    names = store.bundle("2").labels.names
    best = expected.argmax(axis=1)
    assert [(int(i), label) for _, i, label in classes] == [(i, names[i]) for i in best]


def test_outputs_come_as_they_are_asked_for(
    client: triton.InferenceServerClient, images: Array, expected: Array
) -> None:
    as_json = triton.InferRequestedOutput("probabilities", binary_data=False)
    as_bytes = triton.InferRequestedOutput("logits")

    alone = client.infer(MODEL, [_pixels(images)], "v2", outputs=[as_json])
    both = client.infer(MODEL, [_pixels(images)], "v2", outputs=[as_bytes, as_json])

    assert alone.get_output("logits") is None
    assert "data" in alone.get_output("probabilities")
    assert [o["name"] for o in both.get_response()["outputs"]] == [
        "logits",
        "probabilities",
    ]
    assert both.get_output("logits")["parameters"] == {
        "binary_data_size": 4 * expected.size
    }
    for result in (alone, both):
        given = result.as_numpy("probabilities")
        np.testing.assert_allclose(given, expected, rtol=1e-6)
    np.testing.assert_allclose(softmax(both.as_numpy("logits")), expected, rtol=1e-6)


@pytest.mark.parametrize("is_binary", [True, False])
def test_classification_names_the_likeliest_classes(
    client: triton.InferenceServerClient,
    store: Store,
    images: Array,
    expected: Array,
    is_binary: bool,
) -> None:
    wanted = triton.InferRequestedOutput(
        "probabilities", binary_data=is_binary, class_count=3
    )

    result = client.infer(MODEL, [_pixels(images)], "v2", outputs=[wanted])

    assert result.get_output("probabilities")["datatype"] == "BYTES"
    texts = result.as_numpy("probabilities")
    assert texts.shape == (len(images), 3)
    names = store.bundle("2").labels.names
    for row, truth in zip(texts, expected, strict=True):
        parts = [(t.decode() if is_binary else t).split(":", 2) for t in row]
        order = [int(index) for _, index, _ in parts]
        assert order == np.argsort(-truth, kind="stable")[:3].tolist()
        values = [float(value) for value, _, _ in parts]
        np.testing.assert_allclose(values, truth[order], rtol=1e-6)
        assert [name for _, _, name in parts] == [names[index] for index in order]


def test_more_classes_than_there_are_is_all_of_them(
    client: triton.InferenceServerClient, images: Array
) -> None:
    wanted = triton.InferRequestedOutput("logits", class_count=1000)

    result = client.infer(MODEL, [_pixels(images[:1])], outputs=[wanted])

    assert result.as_numpy("logits").shape == (1, 10)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_bodies_are_read(
    client: triton.InferenceServerClient,
    images: Array,
    expected: Array,
    algorithm: str,
) -> None:
    result = client.infer(
        MODEL,
        [_pixels(images)],
        model_version="v2",
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )

    given = result.as_numpy("probabilities")
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_requests_at_once_get_their_own_answers(
    address: str, images: Array, expected: Array
) -> None:
    with triton.InferenceServerClient(address, concurrency=4) as client:
        handles = [
            client.async_infer(MODEL, [_pixels(images[n : n + 1])], "v2")
            for n in range(len(images))
        ]
        results = [handle.get_result(timeout=WAIT_SECONDS) for handle in handles]

    given = np.concatenate([result.as_numpy("probabilities") for result in results])
    # a batch of another size sums in another order
    np.testing.assert_allclose(given, expected, rtol=1e-4)


def test_the_asyncio_client_is_served_alike(
    address: str, files: list[bytes], images: Array, expected: Array
) -> None:
    async def ask() -> list[Array]:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready(MODEL, "v2")
            assert (await client.get_server_metadata())["name"] == "flipside"
            assert (await client.get_model_metadata(MODEL))["name"] == MODEL
            assert (await client.get_model_config(MODEL))["name"] == MODEL
            assert await client.get_model_repository_index()
            with pytest.raises(InferenceServerException, match="no model 'another'"):
                await client.get_model_metadata("another")
            inputs = (_pixels(images), _pixels(images, is_binary=False))
            answers = [
                await client.infer(MODEL, [tensor], model_version="v2")
                for tensor in (*inputs, _encoded(files))
            ]
            for algorithm in ("gzip", "deflate"):
                answers.append(
                    await client.infer(
                        MODEL,
                        [_pixels(images)],
                        model_version="v2",
                        request_compression_algorithm=algorithm,
                        response_compression_algorithm=algorithm,
                    )
                )
            return [answer.as_numpy("probabilities") for answer in answers]

    for probabilities in asyncio.run(ask()):
        np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


def test_pixels_alone_are_a_request(
    service: RunningService, images: Array, expected: Array
) -> None:
    answer = requests.post(
        f"{service.url}/v2/models/{MODEL}/versions/v2/infer",
        data=images.tobytes(),
        headers={HEADER: "0"},
        timeout=WAIT_SECONDS,
    )

    result = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers[HEADER])
    )
    given = result.as_numpy("probabilities")
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    assert result.as_numpy("logits") is None


def test_a_file_alone_is_told_what_a_raw_request_is(
    local: FlaskClient, files: list[bytes]
) -> None:
    answer = local.post(INFER, data=files[0], headers={HEADER: "0"})

    assert answer.status_code == 400
    assert "UINT8 [N, 16, 16, 3]" in answer.text
    assert "the body is an image file" in answer.text


def test_the_repository_shows_what_the_registry_has(
    client: triton.InferenceServerClient,
) -> None:
    assert client.get_model_repository_index() == [
        {"name": MODEL, "version": number, "state": "READY", "reason": ""}
        for number in ("1", "2")
    ]


def test_the_client_reads_what_went_wrong(
    client: triton.InferenceServerClient, files: list[bytes], images: Array
) -> None:
    small = np.ascontiguousarray(images[:, :8])
    wrong = {
        "no model 'another'": ("another", "", _pixels(images)),
        "version '9' is not served": (MODEL, "9", _pixels(images)),
        r"8, 16, 3\]; this version takes UINT8 \[N, 16, 16, 3\]": (
            MODEL,
            "",
            _pixels(small),
        ),
        "image 0: 8 bytes are not an image": (MODEL, "", _encoded([b"no image"])),
        "image 1: .* not an image": (MODEL, "", _encoded([files[0], b"?", files[1]])),
    }

    for message, (model, version, tensor) in wrong.items():
        with pytest.raises(InferenceServerException, match=message) as failure:
            client.infer(model, [tensor], version)
        is_unknown = model != MODEL or version == "9"
        assert failure.value.status() == ("404" if is_unknown else "400")


def test_a_deadline_that_has_passed_is_told(
    client: triton.InferenceServerClient, images: Array
) -> None:
    with pytest.raises(InferenceServerException) as failure:
        client.infer(MODEL, [_pixels(images)], timeout=1)

    assert failure.value.status() == "504"
    assert client.infer(MODEL, [_pixels(images)], timeout=60_000_000).get_response()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nowhere", 404),
        ("GET", "/v2/models/another", 404),
        ("GET", "/v2/models/another/stats", 404),
        ("GET", f"/v2/models/{MODEL}/versions/9", 404),
        ("GET", f"/v2/models/{MODEL}/versions/9/stats", 404),
        ("GET", f"/v2/models/{MODEL}/versions/9/config", 404),
        ("POST", "/v2/repository/models/another/load", 404),
        ("GET", INFER, 405),
        ("DELETE", "/v2", 405),
    ],
)
def test_wrong_routes_answer_in_the_protocols_shape(
    local: FlaskClient, method: str, path: str, status: int
) -> None:
    answer = local.open(path, method=method)

    assert answer.status_code == status
    _check_shape(answer)
    assert ("Allow" in answer.headers) is (status == 405)


def test_keys_are_asked_for_and_probes_are_open(
    pool: PredictorPool, tmp_path: Path
) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    (tmp_path / "keys").write_text(f"someone predict {digest}\n")
    app = create_app(ServingConfig(keys=tmp_path / "keys"), pool=pool)
    local, key = app.test_client(), {"Authorization": "Bearer secret"}

    for path in ("/v2/health/live", "/v2/health/ready"):
        assert local.get(path).status_code == 200
    refused = local.get(f"/v2/models/{MODEL}")
    assert refused.status_code == 401
    _check_shape(refused)
    assert local.get(f"/v2/models/{MODEL}", headers=key).status_code == 200
    for change in ("load", "unload"):
        path = f"/v2/repository/models/{MODEL}/{change}"
        assert local.post(path, headers=key).status_code == 403


def test_what_other_clients_of_the_protocol_read_is_there(local: FlaskClient) -> None:
    """KServe's list of models and bodies of probes, and a slash too many."""
    assert local.get("/v2/models").json == {"models": [MODEL]}
    assert local.get("/v2/health/ready").json == {"ready": True, "live": True}
    assert local.get(f"/v2/models/{MODEL}/ready").json == {"name": MODEL, "ready": True}
    assert local.get("/v2/").json == local.get("/v2").json


def _check_shape(answer: TestResponse) -> None:
    assert answer.headers["Content-Type"] == "application/json"
    document = json.loads(answer.data)
    assert [*document] == ["error"]
    assert isinstance(document["error"], str)

"""MLflow's scoring contract, with MLflow's own client and with raw requests."""

import base64
import json
from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Any
from urllib.parse import urlsplit

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from flask import Flask
from flask.testing import FlaskClient
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from mlflow.utils.proto_json_utils import NumpyEncoder
from werkzeug.test import TestResponse

from classifier.datasets.dataset import Dataset
from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.protocols import mlflow_scoring
from serving.versions.loading import open_pool
from tests.conftest import RunningService, Store, encoded, picture

Array = np.ndarray[Any, Any]

Serve = Callable[[str], Any]


@pytest.fixture
def mlflow_client(service: RunningService) -> ScoringServerClient:
    url = urlsplit(service.url)
    return ScoringServerClient(url.hostname, url.port)


@pytest.fixture(scope="module")
def files(digits: Dataset) -> list[bytes]:
    return [file.read_bytes() for file in digits.val.files[::200]]


@pytest.fixture(scope="module")
def texts(files: list[bytes]) -> list[str]:
    return [base64.b64encode(data).decode() for data in files]


@pytest.fixture(scope="module")
def pixels(store: Store, files: list[bytes]) -> Array:
    preprocessing = store.bundle("1").preprocessing
    return np.stack([preprocessing.image(data) for data in files])


@pytest.fixture(scope="module")
def models_serve(store: Store) -> Serve:
    """A body's answer by `mlflow models serve` of version 1, without its process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        model = mlflow.pyfunc.load_model(f"models:/{store.model}/1")

    def serve(body: str) -> Any:
        schema = model.metadata.get_input_schema()
        answer = scoring_server.invocations(
            body.encode(), "application/json", model, schema
        )
        assert answer.status == 200
        return json.loads(answer.response)

    return serve


def _check_alike(answer: Any, expected: Any) -> None:
    assert [*answer] == [*expected] == ["predictions"]
    assert [*answer["predictions"]] == [*expected["predictions"]] == ["logits"]
    # A batch of another size sums in another order.
    np.testing.assert_allclose(
        answer["predictions"]["logits"],
        expected["predictions"]["logits"],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.fixture(scope="module")
def best(app: Flask, texts: list[str]) -> dict[str, list[dict[str, Any]]]:
    """What POST /predict answers first, of each version."""
    answer = app.test_client().post(
        "/predict?version=v1&version=v2&top_k=1",
        json={"instances": [{"b64": text} for text in texts]},
    )
    rows = json.loads(answer.data)["results"]
    return {v: [r["top"][0] for r in rows if r["version"] == v] for v in ("1", "2")}


def _ask(client: FlaskClient, document: object, **options: Any) -> TestResponse:
    data = document if isinstance(document, bytes) else json.dumps(document)
    options = {"content_type": "application/json", **options}
    return client.post("/invocations", data=data, **options)


def test_mlflows_client_finds_the_service_ready(
    mlflow_client: ScoringServerClient,
) -> None:
    mlflow_client.wait_server_ready()

    assert mlflow_client.get_version() == version_of("mlflow")


def test_mlflows_client_gets_of_a_data_frame_what_predict_answers(
    mlflow_client: ScoringServerClient,
    texts: list[str],
    best: dict[str, list[dict[str, Any]]],
) -> None:
    frame = pd.DataFrame({"label": [None, 1.5, 2.5, 3, 4], "image": texts})

    answer = mlflow_client.invoke(frame)
    of_v2 = mlflow_client.invoke(frame, params={"version": "v2"})

    assert answer["predictions"] == best["1"]
    assert of_v2["predictions"] == best["2"]
    table = answer.get_predictions()
    assert list(table.columns) == ["index", "id", "name", "probability"]
    assert len(table) == len(texts)


def test_mlflows_client_may_send_lists_arrays_and_text(
    mlflow_client: ScoringServerClient,
    texts: list[str],
    best: dict[str, list[dict[str, Any]]],
) -> None:
    for data in (
        texts,
        np.array(texts),
        json.dumps({"instances": [{"b64": text} for text in texts]}),
    ):
        assert mlflow_client.invoke(data)["predictions"] == best["1"]


def test_mlflows_client_gets_logits_of_pixels(
    mlflow_client: ScoringServerClient, pixels: Array, models_serve: Serve
) -> None:
    for data in (pixels, pixels.astype(np.float32), pixels.tolist()):
        answer = mlflow_client.invoke(data)
        _check_alike(answer, models_serve(json.dumps({"inputs": pixels.tolist()})))
        assert answer.get_predictions().shape == (len(pixels), 1)


@pytest.mark.parametrize(
    "shaped",
    [
        lambda pixels: {"inputs": pixels},
        lambda pixels: {"inputs": {"images": pixels}},
        lambda pixels: {"instances": pixels},
        lambda pixels: {"instances": {"images": pixels}},
        lambda pixels: {"instances": [{"images": image} for image in pixels]},
        lambda pixels: {"inputs": np.array(pixels, float).tolist()},
        lambda pixels: {"inputs": pixels, "params": {"version": "1"}},
        lambda pixels: {"inputs": pixels[:1]},
    ],
)
def test_pixels_are_answered_as_mlflow_models_serve_does(
    client: FlaskClient,
    pixels: Array,
    models_serve: Serve,
    shaped: Callable[[list[Any]], dict[str, Any]],
) -> None:
    body = json.dumps(shaped(pixels.tolist()))

    answer = _ask(client, body.encode())

    assert answer.status_code == 200
    _check_alike(json.loads(answer.data), models_serve(body))


@pytest.mark.parametrize(
    "shaped",
    [
        lambda texts: {"inputs": texts},
        lambda texts: {"inputs": texts[:1]},
        lambda texts: {"inputs": {"image": texts}},
        lambda texts: {"inputs": {"images": texts}},
        lambda texts: {"instances": [{"b64": text} for text in texts]},
        lambda texts: {"instances": texts},
        lambda texts: {"instances": [{"images": text} for text in texts]},
        lambda texts: {
            "dataframe_split": {"columns": ["image"], "data": [[t] for t in texts]}
        },
        lambda texts: {
            "dataframe_split": {
                "columns": ["label", "image"],
                "data": [[n, text] for n, text in enumerate(texts)],
            }
        },
        lambda texts: {"dataframe_records": [{"image": t, "x": 1} for t in texts]},
        lambda texts: {"inputs": [f"data:image/png;base64,{t}" for t in texts]},
    ],
)
def test_images_are_answered_as_mlflow_models_serve_does(
    client: FlaskClient,
    texts: list[str],
    models_serve: Serve,
    shaped: Callable[[list[str]], dict[str, Any]],
) -> None:
    """Which has the five best of each image as well."""
    body = json.dumps(shaped(texts))

    answer = _ask(client, body.encode())

    assert answer.status_code == 200
    rows = json.loads(answer.data)["predictions"]
    expected = models_serve(body)["predictions"]
    assert len(rows) == len(expected)
    for row, whole in zip(rows, expected, strict=True):
        top = whole.pop("top")
        # A batch of another size sums in another order.
        assert row == {**whole, "probability": pytest.approx(whole["probability"])}
        assert top[0] == whole
        assert len(top) == 5


def test_a_column_of_bytes_is_read_as_mlflow_writes_it(
    client: FlaskClient, files: list[bytes], best: dict[str, list[dict[str, Any]]]
) -> None:
    """In base64 with line ends."""
    frame = pd.DataFrame({"image": files}).to_dict(orient="split")
    body = json.dumps({"dataframe_split": frame}, cls=NumpyEncoder)
    assert "\\n" in body

    answer = _ask(client, body.encode())

    assert json.loads(answer.data) == {"predictions": best["1"]}


def test_every_form_gives_the_best_answer_of_predict(
    client: FlaskClient,
    texts: list[str],
    best: dict[str, list[dict[str, Any]]],
) -> None:
    rows = [["a", text] for text in texts]

    for document in (
        {"dataframe_split": {"columns": ["image"], "data": [[t] for t in texts]}},
        {"dataframe_split": {"columns": ["x", "image"], "index": [], "data": rows}},
        {"dataframe_records": [{"image": text, "x": 1} for text in texts]},
        {"inputs": texts},
        {"inputs": {"image": texts}},
        {"inputs": {"images": texts}},
        {"instances": [{"b64": text} for text in texts]},
        {"inputs": texts, "params": None},
        {"inputs": texts, "params": {"version": 1}},
    ):
        answer = _ask(client, document)
        assert answer.status_code == 200
        assert answer.content_type == "application/json"
        assert json.loads(answer.data) == {"predictions": best["1"]}


@pytest.mark.parametrize("version", ["2", "v2", "latest", 2])
def test_params_choose_the_version(
    client: FlaskClient,
    texts: list[str],
    best: dict[str, list[dict[str, Any]]],
    version: object,
) -> None:
    answer = _ask(client, {"inputs": texts, "params": {"version": version}})

    assert json.loads(answer.data)["predictions"] == best["2"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        'application/json; charset="utf-8"',
    ],
)
def test_json_is_taken_as_mlflow_takes_it_and_without_a_type(
    client: FlaskClient, texts: list[str], content_type: str | None
) -> None:
    answer = _ask(client, {"inputs": texts}, content_type=content_type)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "text/csv",
        "application/vnd.apache.parquet",
        "image/jpeg",
        "application/json; charset=latin-1",
        "application/json; version=2",
    ],
)
def test_other_types_are_refused_in_mlflows_words(
    client: FlaskClient, content_type: str
) -> None:
    answer = _ask(client, b"image\nx", content_type=content_type)

    assert answer.status_code == 415
    assert json.loads(answer.data)["error_code"] == "BAD_REQUEST"


IMAGE = base64.b64encode(encoded(picture(16, 16))).decode()
PIXELS = np.asarray(picture(16, 16)).tolist()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"inputs": ["\xff"]}', "not JSON"),
        ([IMAGE], "no JSON object"),
        ({}, "none of dataframe_split"),
        ({"inputs": [IMAGE], "instances": [IMAGE]}, "instances and inputs"),
        ({"messages": []}, "exactly one"),
        ({"inputs": []}, "no image"),
        ({"inputs": IMAGE}, "no list of images"),
        ({"inputs": {"picture": [IMAGE]}}, "no list of images"),
        ({"inputs": {"image": [IMAGE], "images": [IMAGE]}}, "no list of images"),
        ({"inputs": [IMAGE, 7]}, "image 1 is no text in base64"),
        ({"inputs": [IMAGE, "é"]}, "image 1 is not base64"),
        ({"instances": [{"base64": IMAGE}]}, "image 0 is no text in base64"),
        ({"dataframe_split": []}, "no list 'columns'"),
        ({"dataframe_split": {"columns": ["x"], "data": [["x"]]}}, "one 'image'"),
        ({"dataframe_split": {"columns": ["image"] * 2, "data": []}}, "one 'image'"),
        ({"dataframe_split": {"columns": ["image"]}}, "no list 'data'"),
        ({"dataframe_split": {"columns": ["image"], "data": [[]]}}, "row 0"),
        ({"dataframe_records": {"image": [IMAGE]}}, "no list of objects"),
        ({"dataframe_records": [{"image": IMAGE}, {}]}, "row 1"),
        ({"inputs": [PIXELS, IMAGE]}, "image 1 is no array of numbers"),
        ({"inputs": [PIXELS[0]]}, "image 0 is [16, 3]"),
        ({"inputs": [PIXELS, PIXELS[:8]]}, "several sizes"),
        ({"inputs": [PIXELS[:8]]}, "this version takes UINT8 [N, 16, 16, 3]"),
        ({"inputs": [[[[0.5] * 3] * 16] * 16]}, "no whole numbers"),
        ({"inputs": [[[[256] * 3] * 16] * 16]}, "no whole numbers"),
        ({"inputs": [[[[None] * 3] * 16] * 16]}, "no whole numbers"),
        ({"inputs": [IMAGE], "params": {"top_k": 5}}, "nothing else"),
        ({"inputs": [IMAGE], "params": "v2"}, "nothing else"),
        ({"inputs": [IMAGE], "params": {"version": True}}, "names no version"),
        ({"inputs": [IMAGE], "params": {"version": "\ud800"}}, "names no version"),
        ({"inputs": [IMAGE, "bm8gaW1hZ2U="]}, "image 1: 8 bytes are not an image"),
        ({"inputs": ["bm8gaW1hZ2U="]}, "image 0: 8 bytes are not an image"),
    ],
)
def test_a_wrong_body_is_refused_in_mlflows_words(
    client: FlaskClient, document: object, said: str
) -> None:
    answer = _ask(client, document)

    assert answer.status_code == 400
    assert answer.content_type == "application/json"
    error = json.loads(answer.data)
    assert set(error) == {"error_code", "message"}
    assert error["error_code"] == "BAD_REQUEST"
    assert said in error["message"]
    assert IMAGE[:20] not in answer.text
    assert ".py" not in answer.text


def test_too_many_images_are_refused(client: FlaskClient) -> None:
    answer = _ask(client, {"inputs": [IMAGE] * 257})

    assert answer.status_code == 413
    assert "the limit is 256" in json.loads(answer.data)["message"]


def test_a_version_in_the_query_is_not_overlooked(client: FlaskClient) -> None:
    answer = client.post("/invocations?version=v2", json={"inputs": [IMAGE]})

    assert answer.status_code == 400
    assert "params" in json.loads(answer.data)["message"]


def test_an_unknown_version_is_told_what_is_served(client: FlaskClient) -> None:
    answer = _ask(client, {"inputs": [IMAGE], "params": {"version": "9"}})

    assert answer.status_code == 404
    error = json.loads(answer.data)
    assert error["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert "v1, v2" in error["message"]


def test_the_deadline_is_told_in_mlflows_words(client: FlaskClient) -> None:
    headers = {"X-Request-Timeout-Ms": "0"}

    answer = _ask(client, {"inputs": [IMAGE]}, headers=headers)

    assert answer.status_code == 504
    assert json.loads(answer.data)["error_code"] == "DEADLINE_EXCEEDED"


def test_a_wrong_method_is_told_in_mlflows_words(client: FlaskClient) -> None:
    answer = client.get("/invocations")

    assert answer.status_code == 405
    assert answer.headers["Allow"]
    assert json.loads(answer.data)["error_code"] == "BAD_REQUEST"


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_probes_are_mlflows(client: FlaskClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 200
    assert answer.data == b"\n"
    assert answer.content_type == "application/json"


def test_until_versions_are_loaded_mlflows_client_is_told_to_wait(
    store: Store,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        pool = open_pool(ServingConfig(versions="v2"), Metrics())
    client = create_app(ServingConfig(), pool=pool).test_client()

    answers = [client.get("/ping"), _ask(client, {"inputs": [IMAGE]})]

    for answer in answers:
        assert answer.status_code == 503
        assert json.loads(answer.data)["error_code"] == "TEMPORARILY_UNAVAILABLE"


def test_an_error_has_the_code_that_mlflow_gives_its_status() -> None:
    for status, code in mlflow_scoring.ERROR_CODES.items():
        assert ERROR_CODE_TO_HTTP_STATUS[code] == status

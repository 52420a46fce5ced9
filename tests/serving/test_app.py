"""The routes: four forms of a body, several images and versions, every error."""

import base64
import gzip
import json
import math
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from classifier.datasets.dataset import Dataset
from classifier.images.resizing import Resizing
from classifier.inference.predict import predict as predict_files
from classifier.metrics import softmax
from classifier.networks.image_classifier import ImageClassifier
from classifier.store.comparisons import iso_date
from serving.app import create_app
from serving.config import ServingConfig
from serving.inference.decoding import ClientWait, Decoded, Decoder
from serving.inference.predictor import Predictor
from serving.metrics import Metrics
from serving.protocols.inference_messages import HEADER
from serving.protocols.predict import predict
from serving.versions.loading import open_pool
from serving.versions.pool import PredictorPool
from tests.conftest import Store, encoded, npy, picture
from tests.serving.pools import make_pool
from training.evaluation.evaluate import evaluate


@pytest.fixture(scope="module")
def files(digits: Dataset) -> list[bytes]:
    return [file.read_bytes() for file in digits.val.files[::200]]


def _post_form(client: FlaskClient, images: list[bytes], query: str = "") -> Any:
    form = {"image": [(BytesIO(data), f"{n}.png") for n, data in enumerate(images)]}
    return client.post(f"/predict{query}", data=form)


def _json(answer: TestResponse) -> Any:
    return json.loads(answer.data)


def _expected(store: Store, version: str, files: list[bytes]) -> np.ndarray[Any, Any]:
    """Probabilities straight from the network."""
    bundle = store.bundle(version)
    images = np.stack([bundle.preprocessing.image(data) for data in files])
    classifier = ImageClassifier.from_bundle(bundle)
    return softmax(evaluate(classifier, images, np.zeros(len(files), np.int64)).logits)


def test_answers_are_the_networks_ordered_by_image_then_version(
    client: FlaskClient, store: Store, files: list[bytes]
) -> None:
    answer = _post_form(client, files, "?version=v2&version=1&top_k=10")

    assert answer.status_code == 200
    assert _json(answer)["model"] == store.model
    results = _json(answer)["results"]
    asked = [(image, v) for image in range(len(files)) for v in ("2", "1")]
    assert [(row["image"], row["version"]) for row in results] == asked
    for version in ("2", "1"):
        expected = _expected(store, version, files)
        rows = [row["top"] for row in results if row["version"] == version]
        for row, probabilities in zip(rows, expected, strict=True):
            given = [entry["probability"] for entry in row]
            assert given == sorted(given, reverse=True)
            order = [entry["index"] for entry in row]
            # ONNX against torch, fp32, and seven printed digits
            np.testing.assert_allclose(given, probabilities[order], atol=1e-5)
    entry = results[0]["top"][0]
    assert entry["id"] == str(entry["index"])
    assert entry["name"] == store.bundle("1").labels.names[entry["index"]]


def test_every_form_of_a_body_gives_the_same_answer(
    client: FlaskClient, store: Store, files: list[bytes]
) -> None:
    data = files[1]
    by_form = _post_form(client, [data]).json
    instances = {"instances": [{"b64": base64.b64encode(data).decode()}]}
    array = BytesIO()
    np.save(array, store.bundle("1").preprocessing.image(data)[None])

    assert len(by_form["results"][0]["top"]) == 5
    assert client.post("/predict", json=instances).json == by_form
    npy = client.post(
        "/predict", data=array.getvalue(), content_type="application/x-npy"
    )
    assert npy.json == by_form
    for kind in ("image/png", "application/x-www-form-urlencoded", "text/plain", None):
        raw = client.post("/predict", data=data, content_type=kind)
        assert raw.json == by_form, kind


def test_a_request_for_more_versions_than_fit_into_memory_is_refused(
    store: Store, files: list[bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        pool = open_pool(ServingConfig(max_loaded=1), Metrics())
    pool.load_wanted()
    client = create_app(ServingConfig(), pool=pool).test_client()

    answer = _post_form(client, files[:1], "?version=v1&version=v2")

    assert answer.status_code == 400
    assert "2 versions are asked for, and 1 may" in _json(answer)["error"]["message"]
    same = _post_form(client, files[:1], "?version=v1&version=1&version=v01")
    assert [row["version"] for row in _json(same)["results"]] == ["1"]
    pool.close()


def test_the_first_of_the_list_answers_when_none_is_named(
    client: FlaskClient, files: list[bytes]
) -> None:
    (row,) = _post_form(client, files[:1]).json["results"]

    assert row["version"] == "1"


def test_an_image_that_cannot_be_read_fails_alone(
    client: FlaskClient, files: list[bytes]
) -> None:
    results = _post_form(client, [files[0], b"no image", files[1]]).json["results"]

    assert results[1]["error"]["code"] == "undecodable_image"
    assert set(results[1]) == {"image", "version", "error"}
    alone = [_post_form(client, [data]).json["results"][0] for data in files[:2]]
    for row, single in zip((results[0], results[2]), alone, strict=True):
        assert [t["index"] for t in row["top"]] == [t["index"] for t in single["top"]]


def test_images_of_which_none_can_be_read_are_answered_one_by_one(
    client: FlaskClient,
) -> None:
    answer = _post_form(client, [b"x", b"y"], "?version=v1&version=v2")

    assert answer.status_code == 200
    codes = [row["error"]["code"] for row in _json(answer)["results"]]
    assert codes == ["undecodable_image"] * 4


def test_large_requests_are_split_and_keep_their_order(
    pool: PredictorPool, files: list[bytes], store: Store
) -> None:
    known = pool.get("v1")
    cutting = Predictor(known.version, known.bundle, known.backend, max_batch_size=2)

    decoder = Decoder(max_megapixels=25, most_waiting=1)

    def decode(images: list[bytes], resizings: set[Resizing]) -> list[Decoded]:
        return decoder.decode(images, resizings, ClientWait(math.inf))

    cut = predict(files, [cutting], top=3, decode=decode, deadline=math.inf)

    assert cut == predict(files, [known], top=3, decode=decode, deadline=math.inf)


def test_each_version_gets_the_image_as_it_was_trained(pool: PredictorPool) -> None:
    known, wide = pool.get("v1"), encoded(picture(40, 90), "PNG")
    cropping = replace(known.bundle.preprocessing, resize_to=20, crop="center")
    bundle = replace(known.bundle, preprocessing=cropping)
    cropped = Predictor(known.version, bundle, known.backend, max_batch_size=2)
    decoder = Decoder(max_megapixels=25, most_waiting=1)

    def decode(images: list[bytes], resizings: set[Resizing]) -> list[Decoded]:
        return decoder.decode(images, resizings, ClientWait(math.inf))

    results = predict([wide], [known, cropped], top=3, decode=decode, deadline=math.inf)

    expected = [
        predict_files([wide], predictor.bundle, known.backend, count=3)[0]
        for predictor in (known, cropped)
    ]
    probabilities = [
        [answer.probability for answer in result["top"]] for result in results
    ]
    assert probabilities == [[p.probability for p in top] for top in expected]
    assert probabilities[0] != probabilities[1]


PNG = encoded(picture(), "PNG")
B64 = base64.b64encode(PNG).decode()

_buffer = BytesIO()
np.savez(_buffer, images=np.zeros((1, 16, 16, 3), np.uint8))
NPZ = _buffer.getvalue()
np.lib.format.write_array_header_1_0(
    _buffer,
    {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 4096, 4096, 3)},
)
HUGE_NPY = _buffer.getvalue()


@pytest.mark.parametrize(
    ("query", "body", "kind", "status", "code"),
    [
        ("", b"", None, 400, "bad_request"),
        ("", b"hello", "text/plain", 415, "unsupported_media_type"),
        ("", b"hello", None, 415, "unsupported_media_type"),
        ("", b"hello", "image/jpeg", 400, "undecodable_image"),
        ("", b"hello", "application/octet-stream", 400, "undecodable_image"),
        ("", PNG[:40], "image/png", 400, "undecodable_image"),
        ("", b"{", "application/json", 400, "bad_request"),
        ("", b"[]", "application/json", 400, "bad_request"),
        ("", b'{"instances": []}', "application/json", 400, "bad_request"),
        ("", b'{"instances": [1]}', "application/json", 400, "bad_request"),
        ("", b'{"instances": [{"b64": "?"}]}', "application/json", 400, "bad_request"),
        (
            "",
            b'{"instances": [{"b64": ""}]}',
            "application/json",
            400,
            "undecodable_image",
        ),
        ("", b"--x--", "multipart/form-data; boundary=x", 400, "bad_request"),
        ("", b"x", "application/x-npy", 400, "bad_request"),
        ("", NPZ, "application/x-npy", 400, "bad_request"),
        ("", HUGE_NPY, "application/x-npy", 400, "bad_request"),
        ("", npy(np.zeros((1, 16, 16, 3))), "application/x-npy", 400, "bad_request"),
        (
            "",
            npy(np.zeros((1, 8, 16, 3), np.uint8)),
            "application/x-npy",
            400,
            "bad_request",
        ),
        (
            "",
            npy(np.zeros((0, 16, 16, 3), np.uint8)),
            "application/x-npy",
            400,
            "bad_request",
        ),
        (
            "",
            npy(np.zeros((257, 16, 16, 3), np.uint8)),
            "application/x-npy",
            413,
            "body_too_large",
        ),
        (
            "",
            json.dumps({"instances": [{"b64": B64}] * 257}).encode(),
            "application/json",
            413,
            "body_too_large",
        ),
        ("?top_k=0", PNG, None, 400, "bad_request"),
        ("?top_k=11", PNG, None, 400, "bad_request"),
        ("?top_k=x", PNG, None, 400, "bad_request"),
        ("?top_k=-1", PNG, None, 400, "bad_request"),
        ("?top_k=%2B5", PNG, None, 400, "bad_request"),
        ("?top_k=%D9%A3", PNG, None, 400, "bad_request"),  # 3 in Arabic
        ("?top_k=", PNG, None, 400, "bad_request"),
        ("?top_k=5&top_k=6", PNG, None, 400, "bad_request"),
        (f"?top_k={'9' * 5000}", PNG, None, 400, "bad_request"),
        ("?%b8ersion=v1", PNG, None, 400, "bad_request"),
        ("?versions=v1", PNG, None, 400, "bad_request"),
        ("?version=v3", PNG, None, 404, "unknown_version"),
        ("?version=worst", PNG, None, 404, "unknown_version"),
        ("?version=", PNG, None, 404, "unknown_version"),
    ],
)
def test_every_mistake_has_its_status_and_code_and_a_message(
    client: FlaskClient,
    query: str,
    body: bytes,
    kind: str | None,
    status: int,
    code: str,
) -> None:
    answer = client.post(f"/predict{query}", data=body, content_type=kind)

    assert answer.status_code == status
    assert answer.content_type == "application/json"
    assert _json(answer)["error"]["code"] == code
    message = _json(answer)["error"]["message"]
    assert len(message) > 10
    assert ".py" not in message
    assert "/tmp" not in message
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("asked", [0, 11, 999_999, 1_000_000, 10**30])
def test_too_many_classes_are_refused_in_the_same_words(
    client: FlaskClient, asked: int
) -> None:
    answer = client.post(f"/predict?top_k={asked}", data=PNG)

    assert answer.status_code == 400
    assert _json(answer)["error"]["message"] == (
        f"top_k is {asked}; this version has 10 classes, ask for 1 to 10"
    )


def test_a_form_whose_part_has_no_name_is_refused(client: FlaskClient) -> None:
    parts = [b"Content-Disposition: form-data", b"", b"x", b"--b"]
    parts += [b'Content-Disposition: form-data; name="y"', b"", b"x", b"--b--", b""]
    kind = "multipart/form-data; boundary=b"

    answer = client.post(
        "/predict", data=b"--b\r\n" + b"\r\n".join(parts), content_type=kind
    )

    assert answer.status_code == 400
    assert "no file field 'image'" in _json(answer)["error"]["message"]


def test_an_unknown_version_is_told_what_is_served(client: FlaskClient) -> None:
    answer = client.post("/predict?version=v9", data=PNG)

    assert "v1, v2" in _json(answer)["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/predict", 405, "method_not_allowed"),
        ("PUT", "/versions", 405, "method_not_allowed"),
        ("GET", "/versions/v9", 404, "unknown_version"),
    ],
)
def test_wrong_routes_answer_in_json(
    client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.open(path, method=method)

    assert answer.status_code == status
    assert _json(answer)["error"]["code"] == code
    if status == 405:
        assert answer.headers["Allow"]


def test_a_body_that_is_too_long_is_refused_by_its_length(client: FlaskClient) -> None:
    answer = client.post(
        "/predict",
        data=b"x",
        content_type="image/jpeg",
        environ_overrides={"CONTENT_LENGTH": str(65 * 1024 * 1024)},
    )

    assert answer.status_code == 413
    assert _json(answer)["error"]["code"] == "body_too_large"


def test_too_many_pixels_are_refused(client: FlaskClient) -> None:
    data = bytearray(encoded(picture()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"

    alone = client.post("/predict", data=bytes(data))
    beside = _post_form(client, [bytes(data), PNG])

    assert alone.status_code == 400
    assert _json(alone)["error"]["code"] == "image_too_large"
    assert _json(beside)["results"][0]["error"]["code"] == "image_too_large"
    assert _json(beside)["results"][1]["top"]


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': (",
        b"-" * 9000,
        b"{'descr': ((),), 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -2, 6, 3)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (True, 4, 3, 3)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (True, 2, 6, 3)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 0, 6, 3)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1.0, 2, 6, 3)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': ()}",
        b"{'descr': '|u1', 'fortran_order': True, 'shape': (1, 2, 6, 3)}",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 2, 6, 3)}",
        b"{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1, 2, 6, 3)}",
        b"{'descr': ('|u1', (9,)), 'fortran_order': False, 'shape': (1, 2, 6, 3)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 6, %s)}"
        % (b"3" * 4000),
    ],
)
def test_a_damaged_array_is_the_clients_fault(
    client: FlaskClient, header: bytes
) -> None:
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")

    answer = client.post(
        "/predict", data=magic + header + bytes(36), content_type="application/x-npy"
    )

    assert answer.status_code == 400
    assert _json(answer)["error"]["code"] == "bad_request"


def test_a_packed_form_is_read(client: FlaskClient) -> None:
    boundary = "b"
    form = (
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        + PNG
        + b"\r\n--b--\r\n"
    )

    answer = client.post(
        "/predict",
        data=gzip.compress(form),
        content_type=f"multipart/form-data; boundary={boundary}",
        headers={"Content-Encoding": "gzip"},
    )

    assert answer.json == client.post("/predict", data=PNG).json


def test_decoding_ends_at_the_deadline(client: FlaskClient) -> None:
    form = {"image": [(BytesIO(b"no image"), f"{n}") for n in range(2)]}

    answer = client.post("/predict", data=form, headers={"X-Request-Timeout-Ms": "0"})

    assert answer.status_code == 504
    assert "decoded" in _json(answer)["error"]["message"]


def test_a_path_begins_no_line_of_the_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        client.get("/%0aforged")

    assert [r for r in caplog.records if "forged" in r.message]
    assert not [r for r in caplog.records if "\n" in r.message]


def test_a_service_is_ready_when_all_its_processes_are(pool: PredictorPool) -> None:
    loaded: list[int] = []
    app = create_app(ServingConfig(), pool=pool, all_ready=lambda: bool(loaded))

    client = app.test_client()

    assert client.get("/readyz").status_code == 503
    assert "serving_ready 0.0" in client.get("/metrics").text
    loaded.append(1)
    assert client.get("/readyz").status_code == 200
    assert "serving_ready 1.0" in client.get("/metrics").text


def test_an_answer_names_no_folder_of_this_machine(store: Store) -> None:
    """Also where a version's files are gone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        pool = open_pool(ServingConfig(), Metrics())
    pool.load_wanted()
    client = create_app(ServingConfig(), pool=pool).test_client()
    missing = "1" if pool.get(None).version.number == "2" else "2"
    hidden = store.folder.with_name("hidden")
    store.folder.rename(hidden)
    try:
        answers = [
            client.get(f"/versions/{missing}"),
            client.post(f"/predict?version={missing}", data=PNG),
        ]
    finally:
        hidden.rename(store.folder)

    for answer in answers:
        assert answer.status_code == 503
        assert _json(answer)["error"]["code"] == "not_ready"
        assert str(store.folder.parent) not in answer.text


def test_a_version_that_can_never_load_is_told_in_every_dialect(copy: Store) -> None:
    copy.registry.set_alias(copy.model, "best", "1")
    copy.registry.client.create_model_version(copy.model, source="runs:/other/model")
    pool = make_pool(copy)
    pool.load_wanted()
    metrics = Metrics()
    client = create_app(ServingConfig(), pool=pool, metrics=metrics).test_client()
    v5 = f"/v2/models/{copy.model}/versions/5"
    body = {"inputs": [base64.b64encode(PNG).decode()], "params": {"version": "5"}}

    own = [
        client.post("/predict?version=v5", data=PNG),
        client.post("/predict?version=v1&version=latest", data=PNG),
        client.get("/versions/v5"),
        client.post("/versions/v5"),
    ]
    inference = [
        client.get(v5),
        client.get(f"{v5}/ready"),
        client.get(f"{v5}/config"),
        client.post(f"{v5}/infer", data=PNG, headers={HEADER: "0"}),
        client.post(f"/v2/repository/models/{copy.model}/load?version=5"),
    ]
    scored = client.post("/invocations", json=body)

    reason = "version 5 of 'digits-tiny' has no logged model"
    for answer in (*own, *inference, scored):
        assert answer.status_code == 503
        assert reason in answer.text
    for answer in own:
        assert _json(answer)["error"]["code"] == "version_failed"
    for answer in inference:
        assert set(_json(answer)) == {"error"}
    assert _json(scored)["error_code"] == "INVALID_STATE"
    entry = _json(client.get("/versions"))["versions"][4]
    assert entry["state"] == "failed"
    assert reason in entry["reason"]
    assert metrics.rejected.labels("version_failed")._value.get() == 10
    assert client.get("/readyz").status_code == 200


def test_with_all_the_newest_version_that_loads_stands_in_for_a_broken_default(
    copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions 1, 3 and 4 have the same files; 5 is another tool's."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copy.uri)
    copy.registry.set_alias(copy.model, "best", "2")
    copy.registry.client.create_model_version(copy.model, source="runs:/other/model")
    graph = copy.bundle("v2").graph
    hidden = graph.rename(graph.with_name("hidden"))
    metrics = Metrics()
    pool = open_pool(ServingConfig(), metrics)
    pool.load_wanted()
    client = create_app(ServingConfig(), pool=pool, metrics=metrics).test_client()
    model, image = f"/v2/models/{copy.model}", base64.b64encode(PNG).decode()

    def default() -> str:
        (row,) = _json(client.post("/predict", data=PNG))["results"]
        return str(row["version"])

    assert client.get("/readyz").status_code == 200
    assert default() == "4"
    pixels = bytes(16 * 16 * 3)
    inferred = client.post(f"{model}/infer", data=pixels, headers={HEADER: "0"})
    assert b'"model_version":"4"' in inferred.data
    assert client.post("/invocations", json={"inputs": [image]}).status_code == 200
    named = client.post("/predict?version=best", data=PNG)
    assert (named.status_code, _json(named)["error"]["code"]) == (503, "version_failed")
    entries = {e["version"]: e for e in _json(client.get("/versions"))["versions"]}
    states = {version: entry["state"] for version, entry in entries.items()}
    assert states == {
        **dict.fromkeys("13", "available"),
        **dict.fromkeys("25", "failed"),
        "4": "ready",
    }
    assert "v4 answers where no version is named" in entries["2"]["reason"]
    assert "serving_default_fallback 1.0" in client.get("/metrics").text
    assert client.post("/predict?version=v3", data=PNG).status_code == 200

    hidden.rename(graph)
    pool.read_registry()

    assert default() == "2"
    assert client.post("/predict?version=best", data=PNG).status_code == 200
    assert "serving_default_fallback 0.0" in client.get("/metrics").text
    pool.close()


def test_a_body_that_is_refused_loads_no_version_and_puts_none_away(
    copy: Store,
) -> None:
    copy.registry.set_alias(copy.model, "best", "1")
    opened: list[str] = []
    pool = make_pool(copy, opened=opened, max_loaded=1)
    pool.load_wanted()
    client = create_app(ServingConfig(), pool=pool).test_client()
    infer = f"/v2/models/{copy.model}/versions/3/infer"
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 2], "data": [0, 0]}
    texts = {"inputs": ["no base64"], "params": {"version": "3"}}

    refused = [
        client.post("/predict?version=v3", data=b""),
        client.post("/predict?version=v3", json={"instances": []}),
        client.post("/predict?version=v3", data=b"x", content_type="application/x-npy"),
        client.post("/predict?version=v9", data=b""),
        client.post(infer, data=b"{"),
        client.post(infer, data=b"", headers={HEADER: "0"}),
        client.post(infer, json={"inputs": [tensor]}),
        client.post(infer, json={"inputs": [tensor], "outputs": [{"name": "x"}]}),
        client.post("/invocations", json=texts),
    ]

    assert [answer.status_code for answer in refused] == [400] * len(refused)
    assert opened == ["1"]
    assert client.post("/predict?version=v3", data=PNG).status_code == 200
    assert opened == ["1", "3"]
    pool.close()


def test_versions_shows_what_is_served(client: FlaskClient, store: Store) -> None:
    answer = _json(client.get("/versions"))

    assert answer["model"] == store.model
    assert [entry["version"] for entry in answer["versions"]] == ["1", "2"]
    version = store.registry.resolve(store.model, "v2")
    assert answer["versions"][1] == {
        "version": "2",
        "state": "ready",
        "reason": None,
        "aliases": list(version.aliases),
        "backend": "onnx",
        "device": "cpu",
        "precision": "fp32",
        "flips": None,
        "precision_reason": None,
        "run_id": version.run_id,
        "epoch": 2,
        "registered": iso_date(version.created_ms),
        "val_top1_accuracy": version.val_top1_accuracy,
        "dataset": {"name": "digits", "digest": version.tags["dataset_digest"]},
    }


def test_odd_tags_of_a_version_are_null_and_hide_no_other(copy: Store) -> None:
    odd = {
        "epoch": "soon",
        "val_top1_accuracy": "nan",
        "val_loss": "1e400",
        "dataset_name": "",
        "dataset_digest": "\x1b[2J",
        "int8_model_id": "",
    }
    registry = copy.registry
    registry.tag_version(registry.resolve(copy.model, "v3"), odd)
    registry.tag_version(registry.resolve(copy.model, "v4"), {"epoch": "9" * 30})
    pool = make_pool(copy, "v1", "v3")
    pool.load_wanted()
    client = create_app(ServingConfig(), pool=pool).test_client()

    listed = client.get("/versions")
    alone = client.get("/versions/v3")
    index = client.post("/v2/repository/index")
    metrics = client.get("/metrics")
    pool.close()

    assert [a.status_code for a in (listed, alone, index, metrics)] == [200] * 4
    first, _, third, fourth = _json(listed)["versions"]
    assert (first["epoch"], first["dataset"]["name"]) == (1, "digits")
    assert third["epoch"] is third["val_top1_accuracy"] is third["dataset"] is None
    assert fourth["epoch"] is None
    assert third["state"] == "ready"
    assert _json(alone)["epoch"] is None


def test_one_version_comes_with_its_labels(client: FlaskClient, store: Store) -> None:
    entry = _json(client.get("/versions/@best"))

    assert entry["labels"] == store.bundle("best").labels.to_json()


def test_probes_answer(client: FlaskClient) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_until_versions_are_loaded_only_liveness_holds(store: Store) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        pool = open_pool(ServingConfig(versions="v2"), Metrics())
    client = create_app(ServingConfig(), pool=pool).test_client()

    assert client.get("/livez").status_code == 200
    for answer in (client.get("/readyz"), client.post("/predict", data=PNG)):
        assert answer.status_code == 503
        assert _json(answer)["error"]["code"] == "not_ready"
    states = [e["state"] for e in _json(client.get("/versions"))["versions"]]
    assert states == ["available", "loading"]

    pool.load_wanted()

    assert client.get("/readyz").status_code == 200
    assert client.post("/predict", data=PNG).status_code == 200


def test_a_request_keeps_the_id_it_brings_unless_it_is_odd(
    client: FlaskClient,
) -> None:
    for given, kept in (("abc-1", True), ("a b", False), ("x" * 200, False)):
        answer = client.get("/livez", headers={"X-Request-ID": given})
        assert (answer.headers["X-Request-ID"] == given) is kept


def test_a_fault_of_ours_is_logged_with_the_id_that_the_answer_names(
    pool: PredictorPool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_down(asked: str | None) -> None:
        raise RuntimeError("secret detail")

    client = create_app(ServingConfig(), pool=pool).test_client()
    monkeypatch.setattr(pool, "get", break_down)

    answer = client.post("/predict", data=PNG)

    assert answer.status_code == 500
    assert _json(answer)["error"]["code"] == "internal"
    assert "secret" not in answer.text
    request_id = answer.headers["X-Request-ID"]
    (record,) = [r for r in caplog.records if r.exc_info]
    assert request_id in record.message


def test_many_clients_at_once_get_their_own_answers(
    app: Flask, files: list[bytes]
) -> None:
    alone = [_post_form(app.test_client(), [data]).json for data in files]
    wrong = []

    def ask(place: int) -> None:
        client = app.test_client()
        for _ in range(10):
            answer = _post_form(client, [files[place]]).json
            if answer != alone[place]:
                wrong.append(place)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_settings_come_from_the_environment_under_a_users_own_gunicorn(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    monkeypatch.setenv("SERVING_VERSIONS", "v2")
    monkeypatch.setenv("SERVING_BACKEND", "torch")

    client = create_app().test_client()

    for thread in threading.enumerate():
        if thread.name == "load-versions":
            thread.join(60)
    (row,) = _json(client.post("/predict", data=PNG))["results"]
    assert row["version"] == "2"
    assert _json(client.get("/versions/v2"))["backend"] == "torch"

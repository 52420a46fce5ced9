"""Files of a version that somebody else wrote: told in words, or served."""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from flask.testing import FlaskClient
from onnx import TensorProto, helper

from classifier.bundle.files import (
    GRAPH,
    LABELS,
    NETWORK,
    PREPROCESSING,
    WEIGHTS,
    BrokenBundle,
    read_bundle,
)
from classifier.inference.backends.open import open_backend
from classifier.inference.predict import FailedCheck, top_classes
from serving.app import create_app
from serving.config import ServingConfig
from serving.inference.predictor import Predictor
from tests.conftest import Store, encoded, picture
from tests.serving.graphs import graph
from tests.serving.pools import make_pool

ODD: list[Any] = [
    *(None, True, -1, 0, 1.5, 7, 10**30, "", "\ud800", "\x1b]0;x\x07", "x" * 10_000),
    *([], {}, [[]], [{}], ["x"], {"x": None}),
]


def _mutations(value: Any) -> Iterator[Any]:
    """The value with each of its parts odd, or gone, or there twice."""
    yield from ODD
    if isinstance(value, dict):
        yield {**value, "later": 1}
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: odd} for odd in _mutations(value[key]))
    if isinstance(value, list) and value:
        yield value[:-1]
        yield [*value, value[-1]]
        yield from ([odd, *value[1:]] for odd in _mutations(value[0]))


def _open(store: Store, folder: Path) -> Predictor:
    version = store.registry.resolve(store.model, "v1")
    bundle = read_bundle(folder)
    backend = open_backend("onnx", bundle, device="cpu", threads=1)
    return Predictor(version, bundle, backend, max_batch_size=2)


def _answers(store: Store, folder: Path) -> bool:
    """False where it is told what is wrong; whatever else is raised is a fault."""
    try:
        predictor = _open(store, folder)
    except (BrokenBundle, FailedCheck):
        return False
    images = np.zeros((1, *predictor.size, 3), np.uint8)
    answer = predictor.batcher.submit(images, deadline=math.inf).result(60)
    orjson.dumps(top_classes(predictor.bundle.labels, answer.logits, 5))
    predictor.close()
    return not answer.failures


@pytest.mark.parametrize("name", [LABELS, PREPROCESSING, NETWORK])
def test_a_file_that_is_odd_in_any_part_is_told_or_does_no_harm(
    copy: Store, name: str
) -> None:
    folder = copy.bundle("v1").folder
    whole = json.loads((folder / name).read_text())
    harmless = []

    for odd in _mutations(whole):
        (folder / name).write_text(json.dumps(odd))
        if _answers(copy, folder):
            harmless.append(odd)

    # Other names, means of no account to the graph, and null where there is a default.
    assert len(harmless) < 12, harmless


def test_a_header_of_weights_that_is_odd_in_any_part_is_told_or_does_no_harm(
    copy: Store,
) -> None:
    folder = copy.bundle("v1").folder
    data = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    whole, tensors = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = next(name for name in whole if name != "__metadata__")
    harmless = []

    for odd in (*ODD, *({**whole, name: odd} for odd in _mutations(whole[name]))):
        header = json.dumps(odd).encode()
        (folder / WEIGHTS).write_bytes(
            struct.pack("<Q", len(header)) + header + tensors
        )
        if _answers(copy, folder):
            harmless.append(odd)

    assert harmless == []


def _constant(value: Any) -> dict[str, Any]:
    return {
        "constants": {"number": np.array(value, np.float32)},
        "nodes": [helper.make_node("Mul", ["plain", "number"], ["odd"])],
        "last": "odd",
    }


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"input_name": "pictures"}, "takes 'pictures'"),
        ({"takes": TensorProto.FLOAT}, r"takes 'images' tensor\(float\)"),
        ({"images": (1, 16, 16, 3)}, "takes .* where 'images'"),
        ({"images": ("N", 3, 16, 16)}, "takes .* where 'images'|cannot be loaded"),
        ({"images": ("N", 16, 16)}, "takes .* where 'images'"),
        ({"output_name": "scores"}, "gives none where 'logits'"),
        ({"gives": TensorProto.INT64}, r"gives 'logits' tensor\(int64\)"),
        ({"constants": {"matrix": np.ones((3, 9), np.float32)}}, "gives|cannot be"),
        (_constant(np.nan), "not finite"),
        (_constant(np.ones((1, 1, 10))), "gives .* where 'logits'|cannot be"),
        (_constant(np.ones((3, 10))), "gives|the network cannot be run on 1 images"),
    ],
)
def test_a_graph_that_is_no_classifier_of_these_images_is_told(
    copy: Store, parts: dict[str, Any], reason: str
) -> None:
    folder = copy.bundle("v1").folder
    (folder / GRAPH).write_bytes(graph(**parts))

    with pytest.raises((BrokenBundle, FailedCheck), match=reason):
        _open(copy, folder)


def test_a_graph_by_another_tool_is_served(copy: Store) -> None:
    folder = copy.bundle("v1").folder
    for images, logits in [
        (("N", 16, 16, 3), None),
        ((None, None, None, 3), ("N", 10)),
    ]:
        (folder / GRAPH).write_bytes(graph(images=images, logits=logits))

        assert _answers(copy, folder)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x08", b"onnx" * 1000, bytes(10_000)])
def test_a_graph_that_is_none_is_told(copy: Store, data: bytes) -> None:
    folder = copy.bundle("v1").folder
    (folder / GRAPH).write_bytes(data)

    assert not _answers(copy, folder)


@pytest.fixture
def client(copy: Store) -> Iterator[FlaskClient]:
    """Of a service with all versions, of which v2 is the one to be harmed."""
    copy.registry.set_alias(copy.model, "best", "1")
    pool = make_pool(copy)
    pool.load_wanted()
    yield create_app(ServingConfig(), pool=pool).test_client()
    pool.close()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (WEIGHTS, struct.pack("<Q", 2) + b"[]", "no object"),
        (WEIGHTS, struct.pack("<Q", 9) + b'{"a": {}}', "data_offsets is missing"),
        (LABELS, b'[{"index": 0, "id": "a", "name": "\\ud800"}]', "surrogates"),
        (PREPROCESSING, b'{"height": 1e400}', "beyond"),
        (PREPROCESSING, b"[" * 100_000, "nested too deeply"),
        (NETWORK, b'{"classes": true}', "missing"),
    ],
    ids=["list", "offsets", "surrogate", "huge", "deep", "fields"],
)
def test_a_hostile_file_is_503_with_the_reason_on_every_route(
    copy: Store, client: FlaskClient, name: str, data: bytes, reason: str
) -> None:
    (copy.bundle("v2").folder / name).write_bytes(data)
    image = encoded(picture())

    answers = [
        client.post("/versions/v2"),
        client.get("/versions/v2"),
        client.post("/predict?version=v2", data=image),
        client.post("/predict?version=v2", data=image),
        client.get(f"/v2/models/{copy.model}/versions/2"),
        client.post(f"/v2/repository/models/{copy.model}/load?version=2"),
    ]

    for answer in answers[:4]:
        assert answer.get_json()["error"]["code"] == "version_failed"
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert name in answer.text
        assert reason in answer.text
    assert client.post("/predict", data=image).status_code == 200
    assert client.get("/versions").status_code == 200


@pytest.mark.parametrize(
    ("name", "key", "value", "reason"),
    [
        (NETWORK, "architecture", "resnet19", "resnet19"),
        (NETWORK, "stem", "large", "stem must be"),
        (NETWORK, "precision", "fp8", "fp8"),
        (NETWORK, "source", "hub", "source must be"),
        (NETWORK, "heads", 2, "'heads' is not known"),
        (PREPROCESSING, "resize", "lanczos", "lanczos"),
        (PREPROCESSING, "color", "bgr", "bgr"),
        (PREPROCESSING, "crop", "five", "crop must be center"),
        (PREPROCESSING, "antialias", True, "'antialias' is not known"),
    ],
)
def test_an_unknown_value_is_version_failed_and_never_ignored(
    copy: Store, client: FlaskClient, name: str, key: str, value: Any, reason: str
) -> None:
    """Such as one that a later flipside wrote."""
    file = copy.bundle("v2").folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))

    answer = client.post("/predict?version=v2", data=encoded(picture()))

    assert answer.status_code == 503
    assert answer.get_json()["error"]["code"] == "version_failed"
    assert name in answer.text
    assert reason in answer.text

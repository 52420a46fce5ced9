"""The OpenAPI document against the app."""

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import strategies
from schemathesis.config import SchemathesisConfig

from classifier.store.comparisons import read_comparisons
from serving.app import create_app
from serving.config import ServingConfig
from serving.http.pages import WRITTEN_FOR, read_document
from serving.metrics import Metrics
from serving.versions.loading import open_pool
from serving.versions.pool import PredictorPool
from tests.conftest import RunningService, Store, encoded, npy, picture, serving

CONFIG = SchemathesisConfig.from_dict(
    {
        "generation": {"deterministic": True, "max-examples": 20, "database": "none"},
        "checks": {
            # Base64 of no image fits the schema.
            "positive_data_acceptance": {"enabled": False},
            # Its own list, and 413: too many images.
            "negative_data_rejection": {
                "expected-statuses": [400, 401, 403, 404, 405, 413, 415]
            },
        },
    }
)

METHODS = ("get", "post", "put", "patch", "delete")

MODEL, RUN = "digits-tiny", "RUN_ID"

PNG = encoded(picture(16, 16), "PNG")

IMAGE = base64.b64encode(PNG).decode()

KEPT = f"20261130T161500000000Z-{'0' * 8}.png"

PATIENT_MS = 60_000


class _Wsgi:
    """The app, which is there later than the test cases that schemathesis makes."""

    app: Flask
    run: str
    """The comparison that the store has; the document cannot know its name."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = "127.0.0.1"  # of no other may versions be changed
        environ["PATH_INFO"] = environ["PATH_INFO"].replace(RUN, self.run)
        return self.app(environ, start_response)


WSGI = _Wsgi()


def _described() -> schemathesis.BaseSchema:
    """The document, with names and files that the app knows, lest all be refused."""
    for kind in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"):
        files = strategies.just(encoded(picture(20, 16), kind))
        schemathesis.openapi.media_type(
            f"image/{kind}", files | strategies.binary(max_size=40)
        )
    schemathesis.openapi.media_type(
        "application/x-npy",
        strategies.sampled_from(
            [
                npy(np.zeros((2, 16, 16, 3), np.uint8)),
                npy(np.zeros((1, 8, 8, 3), np.uint8)),
                b"\x93",
            ]
        ),
    )
    schemathesis.openapi.media_type(
        "application/octet-stream", strategies.binary(max_size=40)
    )
    document = deepcopy(read_document())
    known = document["components"]["schemas"]
    known["ModelName"]["enum"] = [MODEL]
    known["VersionName"]["enum"] = ["1", "v2", "@best", "latest", "v9"]
    known["ComparisonRun"]["enum"] = [RUN, "another"]
    del known["ClassId"]["type"]  # the digits' ids are numbers, which a query has too
    schema = schemathesis.openapi.from_dict(document, config=CONFIG)
    schema.app = WSGI
    return schema


SCHEMA = _described()


def _run(store: Store) -> str:
    (comparison,) = read_comparisons(store.registry)
    return comparison.run_id


@pytest.fixture(scope="module")
def pool(compared_store: Store) -> Iterator[PredictorPool]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", compared_store.uri)
        pool = open_pool(ServingConfig(versions="v1,v2"), Metrics())
    pool.load_wanted()
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def app(pool: PredictorPool, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """With a shadow and an image that is kept."""
    folder = tmp_path_factory.mktemp("kept")
    answer: dict[str, Any] = {"model": MODEL, "version": "1", "run_id": None}
    answer |= {"epoch": 1, "dataset_digest": None, "top": []}
    document = {"image": KEPT, "time": "", "default": answer, "shadow": answer}
    (folder / KEPT).write_bytes(PNG)
    (folder / KEPT).with_suffix(".json").write_text(json.dumps(document))
    config = ServingConfig(
        flagged=tmp_path_factory.mktemp("flagged"),
        shadow="v2",
        shadow_rate=1,
        shadow_keep=folder,
    )
    return create_app(config, pool=pool)


@pytest.fixture(autouse=True)
def _serve(app: Flask, pool: PredictorPool, compared_store: Store) -> Iterator[None]:
    """For schemathesis; what a test takes away is there for the next."""
    WSGI.app = app
    WSGI.run = _run(compared_store)
    yield
    for version in ("v1", "v2"):
        pool.add(version)


def test_the_document_is_openapi_3_1() -> None:
    assert read_document()["openapi"].startswith("3.1.")
    SCHEMA.validate()


SCHEMA_WORDS = frozenset(
    (
        *("$ref", "type", "title", "description", "enum", "const", "default"),
        *("examples", "allOf", "anyOf", "oneOf", "not", "required", "properties"),
        *("minProperties", "maxProperties", "additionalProperties", "items"),
        *("minItems", "maxItems", "contains", "maxContains", "minimum", "maximum"),
        *("minLength", "maxLength", "pattern", "format", "contentEncoding"),
    )
)
"""Of JSON Schema, as far as the document uses them: an unknown word is no error there,
so no validator finds one."""


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    """All below `node`, a schema; what `properties` has are names, not words."""
    yield node
    for word in ("items", "additionalProperties", "contains", "not"):
        if isinstance(node.get(word), dict):
            yield from _schemas(node[word])
    for word in ("allOf", "anyOf", "oneOf"):
        for part in node.get(word, ()):
            yield from _schemas(part)
    for part in node.get("properties", {}).values():
        yield from _schemas(part)


def _values(node: Any, name: str) -> Iterator[Any]:
    """What stands under `name`, at any depth."""
    if isinstance(node, dict):
        if name in node:
            yield node[name]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _values(part, name)


def test_no_schema_has_a_word_that_json_schema_lacks() -> None:
    document = read_document()
    roots = [
        *document["components"]["schemas"].values(),
        *_values(document["paths"], "schema"),
    ]

    words = {word for root in roots for schema in _schemas(root) for word in schema}

    assert words <= SCHEMA_WORDS


def test_no_key_of_the_document_is_without_a_value() -> None:
    """As the second half of a text is that YAML has cut at a comma."""

    def empty(node: Any, path: str) -> Iterator[str]:
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            if value is None:
                yield f"{path}/{key}"
            elif isinstance(value, dict | list):
                yield from empty(value, f"{path}/{key}")

    assert list(empty(read_document(), "")) == []


def test_the_document_and_the_app_have_the_same_routes(app: Flask) -> None:
    documented = {
        (method.upper(), re.sub(r"{\w+}", "{}", path))
        for path, item in read_document()["paths"].items()
        for method in item
        if method in METHODS
    }
    routed = {
        (method, re.sub("<[^>]+>", "{}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint not in ("pages.static", "pages.swagger_ui")
    }

    assert routed == documented


@SCHEMA.parametrize()
def test_whatever_is_asked_the_answer_is_one_that_the_document_has(
    case: schemathesis.Case[Any],
) -> None:
    wait_ms = str(case.headers.get("X-Request-Timeout-Ms", ""))
    if wait_ms.isdecimal() and int(wait_ms) < PATIENT_MS:
        case.headers["X-Request-Timeout-Ms"] = str(PATIENT_MS)

    case.call_and_validate()


RIGHT: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/predict", {"body": PNG, "media_type": "image/png"}),
    (
        "POST",
        "/predict",
        {
            "query": {"version": ["best", "v1"], "top_k": 10},
            "body": {"image": [PNG, b"none"]},
            "media_type": "multipart/form-data",
        },
    ),
    (
        "POST",
        "/predict",
        {
            "body": {"instances": [{"b64": IMAGE}]},
            "media_type": "application/json",
            "headers": {"X-Request-Timeout-Ms": str(PATIENT_MS)},
        },
    ),
    (
        "POST",
        "/predict",
        {
            "body": npy(np.zeros((2, 16, 16, 3), np.uint8)),
            "media_type": "application/x-npy",
        },
    ),
    (
        "POST",
        "/flagged",
        {
            "query": {"version": ["v1", "v2"], "truth": "3"},
            "body": PNG,
            "media_type": "image/png",
        },
    ),
    ("GET", "/comparisons", {}),
    *(
        (
            "GET",
            "/comparisons/{run}/{part}",
            {"path_parameters": {"run": RUN, "part": part}},
        )
        for part in ("report", "pictures")
    ),
    *(("GET", path, {}) for path in ("/versions", "/shadow", "/shadow/images")),
    ("GET", "/shadow/images/{image}", {"path_parameters": {"image": KEPT}}),
    ("GET", "/versions/{version}", {"path_parameters": {"version": "@best"}}),
    ("POST", "/versions/{version}", {"path_parameters": {"version": "v1"}}),
    ("DELETE", "/versions/{version}", {"path_parameters": {"version": "v2"}}),
    *(
        ("POST", "/invocations", {"body": body, "media_type": "application/json"})
        for body in (
            {"inputs": [IMAGE], "params": {"version": "2"}},
            {"inputs": {"image": [IMAGE]}},
            {"inputs": np.zeros((2, 16, 16, 3), int).tolist()},
            {"instances": [{"b64": IMAGE}]},
            {"dataframe_split": {"columns": ["image"], "data": [[IMAGE]]}},
            {"dataframe_records": [{"image": IMAGE}]},
        )
    ),
    *(("GET", path, {}) for path in ("/ping", "/health", "/version")),
    *(("GET", path, {}) for path in ("/livez", "/readyz", "/metrics")),
    *(("GET", path, {}) for path in ("/", "/docs", "/openapi.json")),
    *(
        ("GET", path, {})
        for path in (
            *("/v2", "/v2/health/live", "/v2/health/ready"),
            "/v2/models",
        )
    ),
    *(
        (
            "GET",
            f"/v2/models/{{model}}{what}",
            {"path_parameters": {"model": MODEL, "version": "1"}},
        )
        for version in ("", "/versions/{version}")
        for what in (version, *(f"{version}/{w}" for w in ("ready", "config")))
    ),
    *(
        (
            "POST",
            f"/v2/models/{{model}}{version}/infer",
            {
                "path_parameters": {"model": MODEL, "version": "1"},
                "media_type": "application/json",
                "body": {
                    "id": "a",
                    "inputs": [
                        {
                            "name": "images",
                            "shape": [1],
                            "datatype": "BYTES",
                            "data": [IMAGE],
                        }
                    ],
                    "outputs": [
                        {"name": "logits"},
                        {"name": "probabilities", "parameters": {"classification": 2}},
                    ],
                },
            },
        )
        for version in ("", "/versions/{version}")
    ),
    (
        "POST",
        "/v2/models/{model}/infer",
        {
            "path_parameters": {"model": MODEL},
            "headers": {"Inference-Header-Content-Length": "0"},
            "body": bytes(2 * 16 * 16 * 3),
            "media_type": "application/octet-stream",
        },
    ),
    ("POST", "/v2/repository/index", {}),
    *(
        (
            "POST",
            f"/v2/repository/models/{{model}}/{change}",
            {
                "path_parameters": {"model": MODEL},
                "body": {"parameters": {"version": "2"}},
                "media_type": "application/json",
            },
        )
        for change in ("load", "unload")
    ),
]


@pytest.mark.parametrize(("method", "path", "parts"), RIGHT)
def test_a_right_request_gets_what_the_document_says(
    method: str, path: str, parts: dict[str, Any]
) -> None:
    case = SCHEMA[path][method].Case(**parts)

    answer = case.call_and_validate()

    assert answer.status_code == 200, answer.text


def test_each_operation_is_asked_rightly() -> None:
    documented = {
        (method.upper(), path)
        for path, item in read_document()["paths"].items()
        for method in item
        if method in METHODS
    }

    assert {(method, path) for method, path, _ in RIGHT} == documented


def test_no_version_of_ours_is_in_the_document() -> None:
    assert read_document()["info"]["version"] == "1"


@pytest.fixture
def own_service(compared_store: Store, tmp_path: Path) -> Iterator[RunningService]:
    flags = ("--drain-seconds", "0", "--flagged", str(tmp_path / "flagged"))
    with serving(compared_store, "--versions", "v1,v2", *flags) as service:
        yield service


def test_the_examples_of_the_page_work_as_they_stand(
    own_service: RunningService, compared_store: Store, tmp_path: Path
) -> None:
    """But those that change what is served."""
    assert shutil.which("curl"), "the examples are for curl"
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / name).write_bytes(encoded(picture()))
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail\n")
    swaps = {WRITTEN_FOR: own_service.url, "MODEL": compared_store.model}
    swaps |= {RUN: _run(compared_store)}
    swaps |= {"v8": "v1", "v16": "v2", "versions/8": "versions/1", '"8"': '"1"'}

    for item in read_document()["paths"].values():
        for operation in (item[method] for method in METHODS if method in item):
            is_change = operation.get("security", [{}])[:1] == [{"key": ["admin"]}]
            if is_change:
                continue
            for sample in operation["x-codeSamples"]:
                command = sample["source"]
                for written, meant in swaps.items():
                    command = command.replace(written, meant)
                subprocess.run(
                    ["bash", "-o", "pipefail", "-c", command],
                    cwd=tmp_path,
                    env={**os.environ, "HOME": str(tmp_path)},
                    stdout=subprocess.DEVNULL,
                    check=True,
                    timeout=60,
                )


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_link_relatively_so_that_a_proxy_may_mount_them_below_a_path(
    client: FlaskClient, path: str
) -> None:
    page = client.get(path).text

    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert links
    assert not [link for link in links if link.startswith("/")]
    script = client.get("/static/docs.js")
    assert 'fetch("/' not in script.text
    script.close()

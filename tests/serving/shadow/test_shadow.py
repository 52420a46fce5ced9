"""A shadow version over real networks: in nobody's way, counted, followed."""

import base64
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from classifier.datasets.dataset import Dataset
from classifier.store.versions import UnknownVersion
from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.shadow.shadow import QUEUED_IMAGES, Shadow, open_shadow
from serving.versions.loading import open_pool
from serving.versions.pool import PredictorPool
from tests.conftest import WAIT_SECONDS, Store, encoded, npy, picture, serving, until

CONFIG = ServingConfig(shadow="v2", shadow_rate=1, follow_seconds=0.1)


@pytest.fixture(scope="module")
def files(digits: Dataset) -> list[bytes]:
    return [file.read_bytes() for file in digits.val.files[::9][:40]]


@contextmanager
def shadowed(
    pool: PredictorPool, config: ServingConfig = CONFIG, metrics: Metrics | None = None
) -> Iterator[tuple[FlaskClient, Shadow]]:
    """A client of a service whose shadow is loaded, and that shadow."""
    made: list[Shadow] = []

    def keep(*arguments: Any) -> Shadow | None:
        made.append(open_shadow(*arguments) or pytest.fail("no shadow"))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.app.open_shadow", keep)
        app = create_app(config, pool=pool, metrics=metrics)
    until(lambda: made[0].to_json()["state"] != "loading")
    yield app.test_client(), made[0]
    made[0].close()


def post(client: FlaskClient, images: list[bytes], query: str = "") -> TestResponse:
    """The answer, sent to its end."""
    form = {"image": [(BytesIO(data), f"{n}.png") for n, data in enumerate(images)]}
    return client.post(f"/predict{query}", data=form, buffered=True)


def done(shadow: Shadow) -> int:
    counts = shadow.to_json()
    return int(counts["images"] + counts["dropped"] + counts["failed"])


def _first_ids(client: FlaskClient, files: list[bytes], version: str) -> list[str]:
    rows = json.loads(post(client, files, f"?version={version}").data)["results"]
    return [row["top"][0]["id"] for row in rows]


def test_disagreements_are_those_of_the_two_versions_answers(
    pool: PredictorPool, files: list[bytes]
) -> None:
    metrics = Metrics()
    with shadowed(pool, metrics=metrics) as (client, shadow):
        post(client, files)
        until(lambda: done(shadow) == len(files))
        counts = json.loads(client.get("/shadow").data)
        text = client.get("/metrics").text
        first = _first_ids(client, files, "v1")
        second = _first_ids(client, files, "v2")

    differ = sum(a != b for a, b in zip(first, second, strict=True))
    assert 0 < differ < len(files)
    assert (counts["default"], counts["version"], counts["state"]) == (
        "1",
        "2",
        "ready",
    )
    assert (counts["images"], counts["disagreements"]) == (len(files), differ)
    assert (counts["dropped"], counts["failed"], counts["reason"]) == (0, 0, None)
    rate = counts["disagreement_rate"]
    assert rate["low"] < differ / len(files) == rate["value"] < rate["high"]
    assert sum(hour["images"] for hour in counts["hours"]) == len(files)
    pair = 'shadow="2",version="1"'
    labels = f'{{result="disagreed",{pair}}}'
    assert f"serving_shadow_images_total{labels} {differ:.1f}" in text
    assert 'serving_shadow_disagreement_rate{bound="low",' in text


def test_answers_are_the_same_to_the_byte_with_and_without_a_shadow(
    pool: PredictorPool, files: list[bytes]
) -> None:
    instances = {"instances": [{"b64": base64.b64encode(files[0]).decode()}]}
    pixels = npy(np.zeros((2, 16, 16, 3), np.uint8))
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES"}
    inputs = {"inputs": [{**tensor, "data": [instances["instances"][0]["b64"]]}]}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/predict", {"data": files[0]}),
        ("/predict", {"data": pixels, "content_type": "application/x-npy"}),
        ("/predict?version=v1&version=v2&top_k=3", {"json": instances}),
        ("/predict", {"data": b"no image"}),
        ("/invocations", {"json": instances}),
        ("/v2/models/digits-tiny/infer", {"json": inputs}),
    ]

    def answers(client: FlaskClient) -> list[Any]:
        given = {"X-Request-ID": "same"}
        sent = [
            client.post(path, headers=given, buffered=True, **body)
            for path, body in asked
        ]
        return [(one.status_code, dict(one.headers), one.data) for one in sent]

    without = answers(create_app(ServingConfig(), pool=pool).test_client())
    with shadowed(pool) as (client, shadow):
        assert answers(client) == without
        until(lambda: done(shadow) == 5)  # neither both versions nor what is no image


def test_while_requests_are_in_work_nothing_is_asked_and_the_rest_is_dropped(
    pool: PredictorPool, files: list[bytes]
) -> None:
    with shadowed(pool) as (client, shadow):
        with shadow:  # another user's request
            for _ in range(4):
                post(client, files)
            busy = shadow.to_json()
        until(lambda: done(shadow) == 4 * len(files))
        quiet = shadow.to_json()

    assert busy["images"] == 0
    assert busy["dropped"] == quiet["dropped"] == 4 * len(files) - QUEUED_IMAGES
    assert quiet["images"] == QUEUED_IMAGES


def test_only_what_the_default_version_answers_alone_is_asked(
    pool: PredictorPool, files: list[bytes]
) -> None:
    with shadowed(pool) as (client, shadow):
        for query in ("?version=v2", "?version=v1&version=v2"):
            post(client, files, query)
        post(client, [files[0], b"no image"], "?version=v1")
        until(lambda: done(shadow) > 0)

        assert done(shadow) == 1


def test_a_share_is_asked(pool: PredictorPool, files: list[bytes]) -> None:
    config = ServingConfig(shadow="v2", shadow_rate=0.25)
    with shadowed(pool, config) as (_, shadow):
        predictors = [pool.get(None)]
        random.seed(7)
        count = sum(shadow.samples(predictors) for _ in range(10_000))

    assert 2_200 < count < 2_800  # 7 standard deviations


def test_images_are_kept_only_in_a_folder_that_was_named(
    pool: PredictorPool, files: list[bytes], tmp_path: Path
) -> None:
    config = ServingConfig(shadow="v2", shadow_rate=1, shadow_keep=tmp_path)
    with shadowed(pool, config) as (client, shadow):
        post(client, files)
        until(lambda: done(shadow) == len(files))
        until(lambda: len(shadow.kept.entries()) == shadow.to_json()["disagreements"])  # type: ignore[union-attr]  # there is one
        entries = json.loads(client.get("/shadow/images").data)["images"]
        image = client.get(f"/shadow/images/{entries[0]['image']}")
        place = files.index(image.data)
        (row,) = json.loads(post(client, [files[place]], "?version=v1").data)["results"]
    with shadowed(pool) as (client, shadow):
        refused = client.get("/shadow/images")

    assert entries[0]["default"]["top"] == row["top"]
    for entry in entries:
        default, other = entry["default"], entry["shadow"]
        assert (default["version"], other["version"]) == ("1", "2")
        assert default["top"][0]["id"] != other["top"][0]["id"]
    assert image.headers["X-Content-Type-Options"] == "nosniff"
    assert refused.status_code == 404
    assert "--shadow-keep FOLDER" in refused.text


def test_a_shadow_with_other_preprocessing_gets_the_files_decoded_for_it(
    copy: Store, files: list[bytes]
) -> None:
    registry = copy.registry
    folder = registry.fetch(registry.resolve(copy.model, "v2"))
    settings = json.loads((folder / "preprocessing.json").read_text())
    settings["resize"] = "bicubic-antialias"
    (folder / "preprocessing.json").write_text(json.dumps(settings))
    photos = [encoded(picture(37 + n, 50, seed=n)) for n in range(30)]
    pool = _pool(copy)
    with shadowed(pool) as (client, shadow):
        post(client, photos)
        until(lambda: done(shadow) == len(photos))
        counts = shadow.to_json()
        pool.add("v2")  # so that users may ask it
        first, second = (_first_ids(client, photos, v) for v in ("v1", "v2"))
        pixels = npy(np.zeros((2, 16, 16, 3), np.uint8))
        npy_type = "application/x-npy"
        client.post("/predict", data=pixels, content_type=npy_type, buffered=True)
        until(lambda: done(shadow) == 2 * len(photos) + 2)  # v1 was asked twice
        failed = shadow.to_json()["failed"]
    pool.close()

    differ = sum(a != b for a, b in zip(first, second, strict=True))
    assert (counts["images"], counts["disagreements"]) == (len(photos), differ)
    assert failed == 0


def test_a_shadow_is_no_version_that_users_may_ask(
    copy: Store, files: list[bytes]
) -> None:
    pool = _pool(copy)
    with shadowed(pool) as (client, _):
        refused = post(client, files[:1], "?version=v2")
    pool.close()

    assert refused.status_code == 404


def _pool(store: Store, **settings: Any) -> PredictorPool:
    """A pool of version 1, loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        config = ServingConfig(versions="v1", follow_seconds=0.1, **settings)
        pool = open_pool(config, Metrics())
    pool.load_wanted()
    return pool


def test_an_alias_is_followed_and_each_pair_counts_alone(
    copy: Store, files: list[bytes]
) -> None:
    registry = copy.registry
    registry.set_alias(copy.model, "next", "2")
    pool = _pool(copy)
    config = ServingConfig(shadow="@next", shadow_rate=1, follow_seconds=0.1)
    with shadowed(pool, config) as (client, shadow):
        post(client, files)
        until(lambda: done(shadow) == len(files))
        registry.set_alias(copy.model, "next", "3")  # of the files of version 1
        until(lambda: shadow.to_json()["version"] == "3")
        post(client, files)
        until(lambda: done(shadow) == len(files))
        counts = shadow.to_json()
        registry.set_alias(copy.model, "next", "1")
        until(lambda: shadow.to_json()["version"] == "1")
        same = shadow.to_json()
        post(client, files)
    pool.close()

    assert counts["disagreements"] == 0
    assert [hour["version"] for hour in counts["hours"]] == ["2", "3"]
    assert same["reason"] == "v1 is the default version itself"
    assert done(shadow) == 0


def test_a_shadow_that_cannot_be_loaded_stops_nobody(
    copy: Store, files: list[bytes]
) -> None:
    registry = copy.registry
    folder = registry.fetch(registry.resolve(copy.model, "v2"))
    (folder / "network.json").write_text("{}")
    registry.set_alias(copy.model, "next", "2")
    pool = _pool(copy)
    config = ServingConfig(shadow="@next", shadow_rate=1, follow_seconds=0.1)
    with shadowed(pool, config) as (client, shadow):
        failed = shadow.to_json()
        answer = post(client, files)
        ready = client.get("/readyz").status_code
        registry.set_alias(copy.model, "next", "3")
        until(lambda: shadow.to_json()["state"] == "ready")
        registry.set_alias(copy.model, "next", "2")
        until(lambda: shadow.to_json()["reason"] is not None)
        kept = shadow.to_json()
    pool.close()

    assert (answer.status_code, ready) == (200, 200)
    assert (failed["state"], done(shadow)) == ("failed", 0)
    assert "network.json" in failed["reason"]
    assert kept["reason"].startswith(failed["reason"])
    assert kept["reason"].endswith("/@next is still v3")
    assert (kept["version"], kept["state"]) == ("3", "ready")


def test_a_name_that_is_no_version_is_refused_at_the_start(pool: PredictorPool) -> None:
    with pytest.raises(UnknownVersion, match="no version 'v9'"):
        create_app(ServingConfig(shadow="v9"), pool=pool)


def test_another_model_of_the_same_classes_changes_no_users_answer(
    copy: Store, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = copy.registry
    second = registry.resolve(copy.model, "v2")
    assert second.model_id is not None
    registry.register("other", model_id=second.model_id, run_id="", tags={})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copy.uri)
    monkeypatch.setenv("SERVING_MODEL", copy.model)
    pool = _pool(copy, model=copy.model)
    config = ServingConfig(shadow="other/v1", shadow_rate=1, model=copy.model)
    with shadowed(pool, config) as (client, shadow):
        (row,) = json.loads(post(client, files[:1]).data)["results"]
        until(lambda: done(shadow) == 1)
        counts = shadow.to_json()
    pool.close()

    assert "model" not in row
    assert (counts["default"], counts["version"]) == ("1", "other/1")
    assert counts["images"] == 1


def test_two_processes_count_together_and_leave_no_image_on_the_disk(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = encoded(picture(40, 40, seed=5), quality=99)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    flags = ("--workers", "2", "--shadow", "v2", "--shadow-rate", "1")
    with serving(store, "--versions", "v1", "--drain-seconds", "0", *flags) as service:

        def counts() -> dict[str, Any]:
            found: dict[str, Any] = requests.get(
                f"{service.url}/shadow", timeout=9
            ).json()
            return found

        # Each worker says whether its own shadow is loaded.
        workers = {"ready": 0}

        def all_ready() -> bool:
            is_ready = counts()["state"] == "ready"
            workers["ready"] = workers["ready"] + 1 if is_ready else 0
            return workers["ready"] == 40

        until(all_ready)
        for _ in range(60):
            requests.post(f"{service.url}/predict", data=image, timeout=WAIT_SECONDS)
        until(lambda: counts()["images"] + counts()["dropped"] == 60)
        same = {json.dumps(counts(), sort_keys=True) for _ in range(20)}
        metrics = requests.get(f"{service.url}/metrics", timeout=9).text
        folders = tmp_path, Path(os.environ["XDG_CACHE_HOME"])
        found = [file for folder in folders for file in folder.rglob("*")]
        written = [file.read_bytes() for file in found if file.is_file()]

    assert len(same) == 1
    counted = json.loads(same.pop())
    lines = [x for x in metrics.splitlines() if x.startswith("serving_shadow_images_t")]
    assert sum(float(line.split()[-1]) for line in lines) == 60
    assert counted["failed"] == 0
    assert written
    assert not any(image[200:400] in data for data in written)

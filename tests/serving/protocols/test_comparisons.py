"""GET /comparisons: what compare logged in the service's store."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.versions.loading import open_pool
from tests.conftest import Store


@pytest.fixture
def own(compared_store: Store, tmp_path: Path) -> Store:
    return compared_store.copy(tmp_path / "store")


@pytest.fixture
def reader(own: Store) -> Iterator[FlaskClient]:
    """Reads the store each time; no version is loaded."""
    config = ServingConfig(versions="v1,v2", follow_seconds=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", own.uri)
        pool = open_pool(config, Metrics())
    yield create_app(config, pool=pool).test_client()
    pool.close()


def _run(reader: FlaskClient) -> str:
    (found,) = reader.get("/comparisons").get_json()["comparisons"]
    return str(found["run_id"])


def test_a_comparison_is_listed_with_its_versions_and_numbers(
    reader: FlaskClient, own: Store
) -> None:
    (found,) = reader.get("/comparisons").get_json()["comparisons"]

    for side, number in (("a", "1"), ("b", "2")):
        version = own.registry.resolve(own.model, number)
        expected = {"model": own.model, "version": number, "run_id": version.run_id}
        assert found[side] == expected
    assert found["dataset"] == "digits"
    assert found["verdict"] == "no_gate"
    assert found["numbers"]["images"] == 200
    assert 0 < found["numbers"]["disagreement_rate"] < 1
    assert found["pictures"] == 12


def test_its_report_may_run_its_script_and_reach_nothing(reader: FlaskClient) -> None:
    answer = reader.get(f"/comparisons/{_run(reader)}/report")

    assert answer.mimetype == "text/html"
    assert answer.text.startswith("<!doctype html>")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'; ")
    assert "allow-same-origin" not in policy


def test_its_pictures_come_with_the_answers(reader: FlaskClient) -> None:
    answer = reader.get(f"/comparisons/{_run(reader)}/pictures")

    assert answer.mimetype == "application/json"
    document = json.loads(answer.data)
    assert len(document["pictures"]) == 12
    for picture in document["pictures"]:
        assert picture["a"][0]["id"] != picture["b"][0]["id"]


@pytest.mark.parametrize("path", ["0" * 32 + "/report", "../report", "%2e/report"])
def test_a_run_that_is_not_listed_is_not_found(reader: FlaskClient, path: str) -> None:
    answer = reader.get(f"/comparisons/{path}")

    assert answer.status_code == 404
    assert answer.get_json()["error"]["code"] == "not_found"


def test_a_file_that_the_run_lacks_is_not_found(reader: FlaskClient) -> None:
    answer = reader.get(f"/comparisons/{_run(reader)}/matrix")

    assert answer.status_code == 404
    assert "has no matrix.html" in answer.get_json()["error"]["message"]


def test_a_store_that_is_away_leaves_the_list_and_its_files_are_not_ready(
    reader: FlaskClient, own: Store
) -> None:
    run = _run(reader)
    database = own.folder / "mlflow.db"
    kept = database.read_bytes()
    database.write_bytes(b"no database" * 100)

    answer = reader.get(f"/comparisons/{run}/report")

    assert _run(reader) == run
    assert answer.status_code == 503
    assert str(own.folder) not in answer.text
    database.write_bytes(kept)


def test_metrics_have_the_flips_of_the_last_comparison(reader: FlaskClient) -> None:
    (found,) = reader.get("/comparisons").get_json()["comparisons"]

    lines = reader.get("/metrics").text.splitlines()

    of = f'serving_comparison_images{{a="1",b="2",model="{found["model"]}",result='
    for result, number in (("all", "images"), ("broken", "broken"), ("fixed", "fixed")):
        assert f'{of}"{result}"}} {found["numbers"][number]}' in lines


def test_metrics_never_wait_for_the_store(reader: FlaskClient, own: Store) -> None:
    (own.folder / "mlflow.db").write_bytes(b"no database" * 100)

    assert "serving_comparison_images{" not in reader.get("/metrics").text


def test_a_service_without_comparisons_lists_none(client: FlaskClient) -> None:
    assert client.get("/comparisons").get_json() == {"comparisons": []}

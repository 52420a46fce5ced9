"""Comparisons as MLflow has them."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from classifier.store.comparisons import (
    EXPERIMENT,
    PICTURES,
    PICTURES_TAG,
    ComparedVersion,
    read_comparisons,
)
from tests.conftest import Store

TAGS = {
    "a.model": "m",
    "a.version": "8",
    "a.run_id": "r8",
    "b.model": "m",
    "b.version": "16",
    "b.run_id": "r16",
    "dataset.name": "digits",
    "verdict": "fail",
    PICTURES_TAG: "3",
}


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Store:
    return store.copy(tmp_path / "store")


@pytest.fixture
def experiment(copy: Store, tmp_path: Path) -> str:
    client = MlflowClient(copy.uri)
    return str(client.create_experiment(EXPERIMENT, str(tmp_path / "artifacts")))


def _log(store: Store, experiment: str, at: int, tags: dict[str, str]) -> str:
    client = MlflowClient(store.uri)
    run = client.create_run(experiment, start_time=at, tags=tags, run_name="a name")
    return str(run.info.run_id)


def test_a_store_without_comparisons_has_none(copy: Store) -> None:
    assert read_comparisons(copy.registry) == []


def test_the_finished_ones_are_listed_the_newest_first(
    copy: Store, experiment: str
) -> None:
    client = MlflowClient(copy.uri)
    runs = [_log(copy, experiment, at, TAGS) for at in (1000, 3000, 2000)]
    client.log_metric(runs[1], "top1.delta", -0.25)
    client.log_metric(runs[1], "images", 40)
    for run in runs[:2]:
        client.set_terminated(run)

    newest, oldest = read_comparisons(copy.registry)

    assert (newest.run_id, oldest.run_id) == (runs[1], runs[0])
    assert (newest.date, newest.name) == ("1970-01-01T00:00:03Z", "a name")
    assert newest.a == ComparedVersion(model="m", version="8", run_id="r8")
    assert newest.b == ComparedVersion(model="m", version="16", run_id="r16")
    assert (newest.dataset, newest.verdict, newest.pictures) == ("digits", "fail", 3)
    assert (newest.numbers["delta"], newest.numbers["images"]) == (-0.25, 40)
    assert newest.numbers["disagreement_rate"] is None
    assert newest.is_of(("other", "m"))
    assert not newest.is_of(("other",))


def test_odd_tags_are_read_as_if_they_were_absent(copy: Store, experiment: str) -> None:
    run = _log(copy, experiment, 1000, {PICTURES_TAG: "many", "b.version": "16"})
    MlflowClient(copy.uri).set_terminated(run)

    (found,) = read_comparisons(copy.registry)

    assert (found.a, found.pictures) == (None, 0)
    assert found.b == ComparedVersion(model=None, version="16", run_id=None)


def test_a_run_keeps_its_files(copy: Store, experiment: str) -> None:
    run = _log(copy, experiment, 1000, TAGS)
    MlflowClient(copy.uri).log_text(run, "{}", PICTURES)

    assert copy.registry.text_of_run(run, PICTURES) == "{}"
    assert copy.registry.file_of_run(run, "report.html") is None
    assert copy.registry.file_of_run("0" * 32, PICTURES) is None

"""`export` and `import`: everything of a version arrives, once, whatever is killed."""

import hashlib
import json
import os
import random
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from classifier.__main__ import main
from classifier.bundle.files import GRAPH, LABELS, WEIGHTS, read_bundle
from classifier.store.comparisons import read_comparisons
from classifier.store.registry import Registry
from classifier.upkeep.moving import NOT_MOVED
from tests.classifier.upkeep.killed import Commands
from tests.classifier.upkeep.test_prune import KILLS
from tests.conftest import Store, until
from tests.training.forked import free_port


@pytest.fixture
def full(compared_store: Store, tmp_path: Path) -> Store:
    """Two versions that were compared."""
    return compared_store.copy(tmp_path / "full")


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_MOVED
    }


def contents(registry: Registry, model: str) -> dict[str, Any]:
    """Versions, runs and logged models of a store, without ids and numbers of it."""
    client = registry.client
    versions = registry.versions(model)
    runs = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            runs[run.info.run_id] = run
    return {
        "versions": [
            {
                "epoch": version.epoch,
                "loss": version.val_loss,
                "files": _digests(registry.fetch(version)),
                "int8": version.int8 and _digests(registry.fetch(version.int8)),
                "points": _points_of_model(registry, str(version.model_id)),
                "is of its run": version.run_id in runs,
            }
            for version in versions
        ],
        "runs": sorted(
            (
                {
                    "name": run.info.run_name,
                    "status": run.info.status,
                    "times": [run.info.start_time, run.info.end_time],
                    "params": dict(run.data.params),
                    "points": sorted(
                        [m.key, m.step, m.timestamp, m.value]
                        for key in run.data.metrics
                        for m in client.get_metric_history(run.info.run_id, key)
                    ),
                    "files": _files_of_run(registry, run.info.run_id),
                    "data": [d.dataset.digest for d in run.inputs.dataset_inputs],
                    "inputs": len(run.inputs.model_inputs),
                    "outputs": sorted(o.step for o in run.outputs.model_outputs),
                }
                for run in runs.values()
            ),
            key=str,
        ),
        "logged models": sum(
            len(client.search_logged_models([e.experiment_id]))
            for e in client.search_experiments()
        ),
    }


def _points_of_model(registry: Registry, model_id: str) -> list[list[Any]]:
    metrics = registry.client.get_logged_model(model_id).metrics
    return sorted([m.key, m.step, m.timestamp, m.value] for m in metrics or [])


def _files_of_run(registry: Registry, run_id: str) -> dict[str, str]:
    location = registry.client.get_run(run_id).info.artifact_uri
    if not location.startswith("mlflow-artifacts:"):
        return _digests(Path(location.removeprefix("file://")))
    if not registry.client.list_artifacts(run_id):
        return {}
    return _digests(Path(registry.client.download_artifacts(run_id, "")))


@pytest.fixture
def exported(full: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All of the store in a file; the program then works on an empty store."""
    file = tmp_path / "versions.zip"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", full.uri)
    assert main(["export", "all", "--out", str(file)]) == 0
    return file


@pytest.fixture
def target(
    exported: Path, empty: Registry, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty.uri)
    return empty


def test_everything_of_the_versions_arrives(
    full: Store, exported: Path, target: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert main(["import", str(exported), "--aliases"]) == 0

    assert capsys.readouterr().out == "v1 -> v1\nv2 -> v2\n"
    assert contents(target, full.model) == contents(full.registry, full.model)
    there = {v.number: v.aliases for v in full.registry.versions(full.model)}
    assert {v.number: v.aliases for v in target.versions(full.model)} == there
    version = target.resolve(full.model, "2")
    read_bundle(target.fetch(version))
    assert version.tags["imported_from"] == f"{full.model}/v2"
    assert version.tags["run_id"] == version.run_id


def test_again_nothing_is_doubled_also_on_the_way_back(
    full: Store,
    exported: Path,
    target: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["import", str(exported)])
    before = contents(target, full.model)

    assert main(["import", str(exported)]) == 0
    assert contents(target, full.model) == before
    assert "v2 -> v2 (was there)" in capsys.readouterr().out

    back = tmp_path / "back.zip"
    for version in target.versions(full.model):  # as MLflow does when it loads one
        (target.fetch(version) / "registered_model_meta").write_text("model_name: x")
    assert main(["export", "all", "--out", str(back)]) == 0
    before = contents(full.registry, full.model)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", full.uri)
    assert main(["import", str(back)]) == 0
    assert contents(full.registry, full.model) == before
    assert "v1 -> v1 (was there)" in capsys.readouterr().out


def test_versions_get_the_next_numbers_and_comparisons_follow(
    full: Store, exported: Path, target: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    target.client.create_registered_model("birds")
    target.client.create_model_version("birds", "s3://other/x", await_creation_for=0)
    capsys.readouterr()

    assert main(["import", str(exported), "--model", "birds"]) == 0

    assert capsys.readouterr().out == "v1 -> v2\nv2 -> v3\n"
    assert [v.epoch for v in target.versions("birds")] == [None, 1, 2]
    (comparison,) = read_comparisons(target)
    assert comparison.a is not None
    assert comparison.b is not None
    baseline, candidate = target.resolve("birds", "2"), target.resolve("birds", "3")
    assert (comparison.a.model, comparison.a.version) == ("birds", "2")
    assert (comparison.b.version, comparison.b.run_id) == ("3", candidate.run_id)
    assert candidate.tags["compare.vs_2.run_id"] == comparison.run_id
    assert not any(name.startswith("compare") for name in baseline.tags)
    assert candidate.aliases == ()


def test_an_int8_form_goes_with_its_version(
    quantised_store: Store,
    empty: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, file = quantised_store, str(tmp_path / "one.zip")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert main(["export", "v2.int8", "--out", file]) == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty.uri)

    assert main(["import", file]) == 0

    (version,) = empty.versions(store.model)
    int8 = version.int8
    assert int8 is not None
    assert version.epoch == int8.epoch == 2
    assert read_bundle(empty.fetch(int8)).network.precision == "int8"
    assert int8.model_id is not None
    tags = empty.client.get_logged_model(int8.model_id).tags
    assert tags["quantised_version"] == "1"
    assert tags["quantised_model_id"] == version.model_id
    agreement = store.registry.resolve(store.model, "2").tags["int8_agreement"]
    assert version.tags["int8_agreement"] == agreement


def test_the_same_versions_are_the_same_file(
    full: Store, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", full.uri)
    again = tmp_path / "again.zip"

    assert main(["export", "v2", "1", "@best", "--out", str(again)]) == 0
    assert again.read_bytes() == exported.read_bytes()


def test_comparisons_with_versions_that_stay_are_left_out(
    full: Store,
    empty: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = str(tmp_path / "one.zip")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", full.uri)
    assert main(["export", "v2", "--out", file]) == 0
    assert "1 comparisons are left out" in capsys.readouterr().out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty.uri)
    assert main(["import", file]) == 0

    (version,) = empty.versions(full.model)
    assert not any(name.startswith("compare") for name in version.tags)
    assert read_comparisons(empty) == []


@KILLS
def test_an_import_that_is_killed_is_gone_on_with(
    kills: int,
    quantised_store: Store,
    empty: Registry,
    commands: Commands,
    tmp_path: Path,
) -> None:
    store, file = quantised_store, tmp_path / "versions.zip"
    ended = commands.run(["export", "all", "--out", str(file)], uri=store.uri)
    assert ended.code == 0, ended.error
    undisturbed = Registry(f"sqlite:///{tmp_path / 'whole.db'}", create=True)
    steps = commands.run(["import", str(file)], uri=undisturbed.uri).steps
    wanted = contents(undisturbed, store.model)
    chance = random.Random(kills)

    for _ in range(kills):
        at = chance.randrange(1, steps)
        ended = commands.run(["import", str(file)], uri=empty.uri, at=at)
        assert ended.code in (-9, 0), ended.error
        if empty.has_model(store.model):
            for version in empty.versions(store.model):
                read_bundle(empty.fetch(version))
                if version.int8 is not None:
                    read_bundle(empty.fetch(version.int8))
    ended = commands.run(["import", str(file)], uri=empty.uri)
    assert ended.code == 0, ended.error
    assert contents(empty, store.model) == wanted


@KILLS
def test_an_export_that_is_killed_leaves_the_file_as_it_was(
    kills: int, quantised_store: Store, commands: Commands, tmp_path: Path
) -> None:
    file = tmp_path / "versions.zip"
    command = ["export", "all", "--out", str(file)]
    steps = commands.run(command, uri=quantised_store.uri).steps
    whole = file.read_bytes()
    file.write_bytes(b"before")
    chance = random.Random(kills)

    for _ in range(kills):
        at = chance.randrange(1, steps)
        assert commands.run(command, uri=quantised_store.uri, at=at).code == -9
        assert file.read_bytes() in (b"before", whole)
    assert commands.run(command, uri=quantised_store.uri).code == 0
    assert file.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@contextmanager
def _mlflow_server(folder: Path) -> Iterator[str]:
    """The address of a real `mlflow server` with its own artifacts."""
    folder.mkdir()
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/health", timeout=1).close()
            return True
        return False

    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ}, cwd=folder
        ) as server,
    ):
        try:
            until(answers)
            yield url
        finally:
            server.terminate()


def test_a_server_is_reached_by_http_alone(
    full: Store,
    exported: Path,
    empty: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _mlflow_server(tmp_path / "server") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert main(["import", str(exported), "--aliases"]) == 0
        assert contents(Registry(url), full.model) == contents(
            full.registry, full.model
        )
        back = str(tmp_path / "back.zip")
        assert main(["export", "all", "--out", back]) == 0
        _prune_the_first(Registry(url), full.model, tmp_path / "server" / "artifacts")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", empty.uri)
        assert main(["import", back]) == 0

    assert contents(empty, full.model) == contents(full.registry, full.model)


def _prune_the_first(registry: Registry, model: str, artifacts: Path) -> None:
    client, first = registry.client, registry.resolve(model, "1")
    for alias in ("best", "best-loss"):
        client.delete_registered_model_alias(model, alias)
    client.delete_experiment(client.get_experiment_by_name("compare").experiment_id)
    (folder,) = artifacts.glob(f"*/models/{first.model_id}/artifacts")
    assert (folder / WEIGHTS).is_file()

    assert main(["prune", "--keep", "last", "--yes"]) == 0

    assert [v.number for v in registry.versions(model)] == ["2"]
    assert not list(artifacts.glob(f"*/models/{first.model_id}/artifacts/*"))


def test_the_file_has_no_pickle_and_no_path_of_the_machine(
    exported: Path, full: Store
) -> None:
    with zipfile.ZipFile(exported) as file:
        manifest = json.loads(file.read("manifest.json"))
        names = set(file.namelist())
    version = manifest["versions"][0]
    files = version["fp32"]["files"]

    assert {GRAPH, LABELS, WEIGHTS} < set(files)
    assert names == {"manifest.json"} | {
        f"files/{digest}"
        for run in manifest["runs"] + manifest["comparisons"]
        for digest in run["files"].values()
    } | {
        f"files/{digest}"
        for each in manifest["versions"]
        for digest in each["fp32"]["files"].values()
    }
    assert str(full.folder) not in json.dumps(manifest)
    assert not any(path.endswith((".pkl", ".pt")) for path in files)

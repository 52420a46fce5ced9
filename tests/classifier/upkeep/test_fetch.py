"""`python -m classifier fetch`: a version becomes a store of its own, or nothing."""

import argparse
import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from classifier.bundle.files import GRAPH, BrokenBundle
from classifier.console.exits import WrongUsage
from classifier.store.cache.entries import NOT_PUBLISHED
from classifier.store.maintenance import single_store
from classifier.store.registry import Registry
from classifier.upkeep import fetch
from serving.app import create_app
from serving.config import ServingConfig
from serving.metrics import Metrics
from serving.versions.loading import open_pool
from tests.conftest import Store


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    fetch.add_to(parser.add_subparsers())
    arguments = parser.parse_args(["fetch", *words])
    return int(arguments.run(arguments))


@pytest.fixture
def remote(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the store, in which version 2's digests are recorded."""
    copy = store.copy(tmp_path / "remote")
    version = copy.registry.resolve(copy.model, "2")
    files = copy.registry.fetch(version)
    digests = {
        path.name: sha256(path.read_bytes()).hexdigest() for path in files.iterdir()
    }
    text = json.dumps(digests)
    copy.registry.client.set_logged_model_tags(version.model_id, {"sha256": text})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copy.uri)
    return copy


def test_a_fetched_version_answers_under_its_own_number_without_the_registry(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = remote.registry.resolve(remote.model, "2")
    folder = tmp_path / "models"

    assert _run(f"mlflow://{remote.model}/v2", str(folder)) == 0

    shutil.rmtree(remote.folder)
    moved = folder.rename(tmp_path / "mounted elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved}/mlflow.db")
    config = ServingConfig(follow_seconds=60)
    pool = open_pool(config, Metrics())
    pool.load_wanted()
    try:
        client = create_app(config, pool=pool).test_client()
        (entry,) = client.get("/versions").get_json()["versions"]
    finally:
        pool.close()
    assert entry["state"] == "ready"
    assert entry["version"] == "2"
    assert entry["run_id"] == expected.run_id
    assert entry["aliases"] == list(expected.aliases)
    assert entry["val_top1_accuracy"] == expected.val_top1_accuracy


def test_again_it_verifies_what_is_there(
    remote: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"mlflow://{remote.model}/@best", str(tmp_path / "models"))
    _run(*words)
    before = (tmp_path / "models" / "mlflow.db").read_bytes()

    assert _run(*words) == 0

    assert "was there and is verified" in capsys.readouterr().out
    assert (tmp_path / "models" / "mlflow.db").read_bytes() == before


def test_a_damaged_file_leaves_nothing_behind(remote: Store, tmp_path: Path) -> None:
    version = remote.registry.resolve(remote.model, "2")
    graph = remote.registry.fetch(version) / GRAPH
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")

    with pytest.raises(BrokenBundle, match=r"model\.onnx has the sha256"):
        _run(f"mlflow://{remote.model}/2", str(tmp_path / "models"))

    assert list((tmp_path / "models").iterdir()) == []


def test_what_a_kill_left_is_replaced(remote: Store, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    for left in (".partial/mlflow.db", "mlruns/half/models/m-1/artifacts/model.onnx"):
        (folder / left).parent.mkdir(parents=True)
        (folder / left).write_text("half")

    _run(f"mlflow://{remote.model}/2", str(folder))

    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    (version,) = registry.versions(remote.model)
    assert version.number == "2"
    assert not NOT_PUBLISHED & {path.name for path in registry.fetch(version).iterdir()}
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlruns"]


def test_other_files_are_never_overwritten(remote: Store, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.tex").write_text("the only copy")

    with pytest.raises(WrongUsage, match=r"has thesis\.tex"):
        _run(f"mlflow://{remote.model}/2", str(tmp_path / "models"))
    with pytest.raises(WrongUsage, match="is another store"):
        single_store.fetch(
            remote.registry, remote.registry.resolve(remote.model, "2"), remote.folder
        )


@pytest.mark.parametrize("address", ["s3://b/m", "mlflow://birds", "mlflow:///v8"])
def test_an_address_says_model_and_version(address: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        _run(address, str(tmp_path))

    assert ended.value.code == 2

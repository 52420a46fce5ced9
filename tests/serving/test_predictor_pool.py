"""Which versions are in memory, and what happens to those that cannot be."""

import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from classifier.bundle import BrokenBundle, read_bundle
from classifier.registry import Registry
from classifier.versions import UnknownVersion, Version
from serving.backend import open_backend
from serving.predictor import Predictor
from serving.predictor_pool import NotReady, PredictorPool
from tests.conftest import Store

Open = Callable[[Version], Predictor]


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Store:
    """A store of its own, with four versions of the same files."""
    folder = Path(shutil.copytree(store.folder, tmp_path / "store"))
    copied = Store(folder, store.model)
    _repoint(folder, store.folder)
    registry = copied.registry
    first = registry.resolve(store.model, "v1")
    assert first.model_id is not None
    for _ in range(2):
        registry.register(
            store.model, model_id=first.model_id, run_id=first.run_id or "", tags={}
        )
    return copied


def _repoint(folder: Path, original: Path) -> None:
    """To the copied files: MLflow keeps absolute paths."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE logged_models SET artifact_location = "
            "replace(artifact_location, ?, ?)",
            (str(original), str(folder)),
        )


def _opener(registry: Registry, opened: list[str]) -> Open:
    def open_predictor(version: Version) -> Predictor:
        opened.append(version.number)
        bundle = read_bundle(registry.fetch(version))
        backend = open_backend("onnx", bundle, device="cpu", threads=1)
        return Predictor(version, bundle, backend, max_batch_size=4)

    return open_predictor


def _pool(
    store: Store, *listed: str, opened: list[str] | None = None, max_loaded: int = 2
) -> PredictorPool:
    registry = store.registry
    return PredictorPool(
        registry,
        _opener(registry, [] if opened is None else opened),
        model=store.model,
        listed=listed,
        max_loaded=max_loaded,
    )


def test_a_list_serves_those_versions_alone(copy: Store) -> None:
    pool = _pool(copy, "v2", "1")
    pool.load_wanted()

    assert pool.get(None).version.number == "2"
    assert pool.get("v1").version.number == "1"
    with pytest.raises(UnknownVersion, match=r"not served; .* v2, v1"):
        pool.get("v3")


def test_a_listed_version_that_does_not_exist_is_told_at_the_start(copy: Store) -> None:
    with pytest.raises(UnknownVersion, match="no version 'v9'"):
        _pool(copy, "v1", "v9")


def test_all_starts_with_best_and_loads_others_when_they_are_asked_for(
    copy: Store,
) -> None:
    opened: list[str] = []
    best = copy.registry.resolve(copy.model, "best").number
    pool = _pool(copy, opened=opened)
    pool.load_wanted()
    assert opened == [best]

    assert pool.get(None).version.number == best
    assert pool.get("v3").version.number == "3"

    assert opened == [best, "3"]


def test_the_least_recently_used_version_goes_when_there_are_too_many(
    copy: Store,
) -> None:
    opened: list[str] = []
    pool = _pool(copy, opened=opened, max_loaded=2)
    pool.load_wanted()
    first = opened[0]
    pool.get("v3")
    pool.get(first)

    pool.get("v4")

    loaded = {s.version.number for s in pool.statuses() if s.state == "ready"}
    assert loaded == {first, "4"}
    pool.get("v3")
    assert opened == [first, "3", "4", "3"]


def test_a_version_that_many_ask_for_at_once_is_loaded_once(copy: Store) -> None:
    opened: list[str] = []
    pool = _pool(copy, opened=opened, max_loaded=3)
    pool.load_wanted()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: pool.get("v4"), range(16)))

    assert opened.count("4") == 1
    assert len({id(predictor) for predictor in found}) == 1


def test_versions_may_come_and_go_while_others_are_asked_for(copy: Store) -> None:
    pool = _pool(copy, max_loaded=2)
    pool.load_wanted()

    with ThreadPoolExecutor(8) as threads:
        asked = [str(1 + n % 4) for n in range(64)]
        found = list(threads.map(pool.get, asked))

    assert [predictor.version.number for predictor in found] == asked
    assert sum(s.state == "ready" for s in pool.statuses()) <= 2


def test_a_version_published_after_the_start_is_found(copy: Store) -> None:
    pool = _pool(copy)
    pool.load_wanted()
    registry = copy.registry
    model_id = registry.resolve(copy.model, "v2").model_id
    assert model_id is not None
    registry.register(copy.model, model_id=model_id, run_id="", tags={})

    assert pool.get("v5").version.number == "5"


def test_a_broken_version_is_told_and_the_others_answer(copy: Store) -> None:
    pool = _pool(copy, max_loaded=4)
    pool.load_wanted()
    bundle = copy.bundle("v2" if pool.get(None).version.number == "1" else "v1")
    whole = bundle.weights.read_bytes()
    bundle.weights.write_bytes(whole[:-100])
    number = "2" if pool.get(None).version.number == "1" else "1"

    with pytest.raises(NotReady, match=r"failed: weights\.safetensors has"):
        pool.get(number)

    assert pool.get(None)
    bundle.weights.write_bytes(whole)
    assert pool.get(number).version.number == number  # mended: tried again


def test_a_graph_that_onnx_runtime_cannot_read_is_a_failed_version(copy: Store) -> None:
    graph = copy.bundle("v2").graph
    graph.write_bytes(graph.read_bytes()[:1000])
    pool = _pool(copy, "v2")

    with pytest.raises(BrokenBundle, match=r"model\.onnx cannot be loaded"):
        pool.load_wanted()

    assert pool.start_failure is not None
    assert pool.statuses()[1].state == "failed"


def test_a_broken_version_of_a_list_ends_the_start(copy: Store) -> None:
    copy.bundle("v2").graph.unlink()
    pool = _pool(copy, "v1", "v2")

    with pytest.raises(BrokenBundle, match=r"model\.onnx is missing"):
        pool.load_wanted()

    assert not pool.is_ready
    states = {s.version.number: (s.state, s.reason) for s in pool.statuses()}
    assert states["1"] == ("ready", None)
    assert states["2"][0] == "failed"


def test_the_registry_may_go_away_after_the_start(copy: Store) -> None:
    pool = _pool(copy, "v1", "v2")
    pool.load_wanted()
    database = copy.folder / "mlflow.db"
    database.write_bytes(b"no database any more")

    assert pool.get("v2").version.number == "2"
    assert [s.version.number for s in pool.statuses()] == ["1", "2", "3", "4"]


def test_a_load_in_progress_holds_up_no_other_version(copy: Store) -> None:
    registry = copy.registry
    begun, go_on = threading.Event(), threading.Event()
    open_at_once = _opener(registry, [])

    def open_predictor(version: Version) -> Predictor:
        if version.number == "3":
            begun.set()
            assert go_on.wait(60)
        return open_at_once(version)

    pool = PredictorPool(
        registry, open_predictor, model=copy.model, listed=(), max_loaded=4
    )
    pool.load_wanted()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.get, "v3")
        assert begun.wait(60)

        assert pool.get(None)
        assert {s.version.number: s.state for s in pool.statuses()}["3"] == "loading"

        go_on.set()
        assert waiting.result(60).version.number == "3"

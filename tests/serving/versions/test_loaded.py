"""Versions that are loaded and taken out while they are asked for."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from classifier.store.versions import Version
from serving.inference.predictor import Predictor
from serving.versions.loaded import LoadedVersions
from serving.versions.slot import NotReady, VersionFailed
from tests.conftest import WAIT_SECONDS, Store
from tests.serving.pools import make_pool, opener


def test_what_was_taken_out_is_never_loaded_again(copy: Store) -> None:
    opened: list[str] = []
    versions = copy.registry.versions(copy.model)
    open_predictor = opener(copy.registry, opened)
    loaded = LoadedVersions(versions, open_predictor, most=None, last=list)
    slot = loaded.slots.get("3")
    assert slot is not None
    loaded.drop(slot)

    assert loaded.load_on_demand(slot) is None

    assert opened == []
    assert loaded.slots.get("3") is None


def test_a_version_that_is_back_stays_when_its_old_slot_is_dropped(copy: Store) -> None:
    versions = copy.registry.versions(copy.model)
    open_predictor = opener(copy.registry, [])
    loaded = LoadedVersions(versions[:1], open_predictor, most=None, last=list)
    old = loaded.slots.get("1")
    loaded.drop(old)
    loaded.load(versions[0])

    loaded.drop(old)

    slot = loaded.slots.get("1")
    assert slot is not None
    assert slot.state == "ready"


def test_many_versions_asked_for_at_once_leave_as_many_as_may_be(
    copy: Store,
) -> None:
    pool = make_pool(copy, max_loaded=2)
    pool.load_wanted()

    def ask(number: int) -> str:
        return pool.get(f"v{number % 4 + 1}").version.number

    with ThreadPoolExecutor(8) as threads:
        asked = list(threads.map(ask, range(80)))

    assert asked == [str(number % 4 + 1) for number in range(80)]
    ready = [s.version.number for s in pool.statuses() if s.state == "ready"]
    assert len(ready) == 2


def test_requests_load_few_versions_at_once(
    copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.versions.loaded.LEAST_LOADING", 1)
    best = copy.registry.resolve(copy.model, "best").number
    slow, other = (number for number in "123" if number != best)
    opened: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    open_at_once = opener(copy.registry, opened)

    def open_predictor(version: Version) -> Predictor:
        if version.number == slow:
            begun.set()
            assert go_on.wait(WAIT_SECONDS)
        return open_at_once(version)

    pool = make_pool(copy, max_loaded=1, open_predictor=open_predictor)
    pool.load_wanted()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(pool.get, slow)
        assert begun.wait(WAIT_SECONDS)
        with pytest.raises(NotReady, match="1 others are being loaded; try again"):
            pool.get(other)
        go_on.set()
        first.result(WAIT_SECONDS)

    assert opened == [best, slow]
    assert pool.get(other).version.number == other
    assert opened == [best, slow, other]


def test_what_is_taken_away_before_it_is_loaded_is_not_loaded(
    copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # one after the other
    monkeypatch.setattr("serving.versions.slot.usable_cores", lambda: 1)
    opened: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    open_at_once = opener(copy.registry, opened)

    def open_predictor(version: Version) -> Predictor:
        begun.set()
        assert go_on.wait(WAIT_SECONDS)
        return open_at_once(version)

    pool = make_pool(copy, "v1", "v2", open_predictor=open_predictor)
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(pool.load_wanted)
        assert begun.wait(WAIT_SECONDS)
        pool.remove("v2")
        go_on.set()
        loading.result(WAIT_SECONDS)

    assert opened == ["1"]
    assert pool.is_ready


def test_a_version_that_cannot_be_loaded_takes_no_others_place(copy: Store) -> None:
    opened: list[str] = []
    pool = make_pool(copy, max_loaded=2, opened=opened)
    pool.load_wanted()
    # Versions 1, 3 and 4 have the same files, and are loaded before they break.
    good = [pool.get(None).version.number]
    good += [pool.get("v2" if good != ["2"] else "v1").version.number]
    copy.bundle("v1").graph.unlink()

    for _ in range(3):
        with pytest.raises(VersionFailed, match=r"loaded: model\.onnx is missing"):
            pool.get("v3")

    ready = [s.version.number for s in pool.statuses() if s.state == "ready"]
    assert ready == sorted(good)
    assert pool.status("v3").state == "failed"

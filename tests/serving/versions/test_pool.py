"""Which versions are in memory, and what happens to those that cannot be."""

import json
import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from classifier.inference.predict import FailedCheck
from classifier.store.registry import Registry
from classifier.store.versions import UnknownVersion, Version
from serving.inference.predictor import Predictor
from serving.versions.pool import PredictorPool
from serving.versions.registry_watch import RegistryWatch
from serving.versions.slot import NotReady, Slot, VersionFailed, load_side_by_side
from tests.conftest import WAIT_SECONDS, Store
from tests.serving.pools import make_pool, opener


def test_a_list_serves_those_versions_alone(copy: Store) -> None:
    pool = make_pool(copy, "v2", "1")
    pool.load_wanted()

    assert pool.get(None).version.number == "2"
    assert pool.get("v1").version.number == "1"
    with pytest.raises(UnknownVersion, match=r"not served; .* v2, v1"):
        pool.get("v3")


def test_versions_are_loaded_side_by_side_by_threads_that_nobody_waits_for(
    copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.versions.slot.usable_cores", lambda: 2)
    both, daemons = threading.Barrier(2, timeout=WAIT_SECONDS), []
    opened: list[str] = []
    open_one = opener(copy.registry, opened)

    def open_together(version: Version) -> Predictor:
        daemons.append(threading.current_thread().daemon)
        both.wait()
        return open_one(version)

    slots = [
        Slot(copy.registry.resolve(copy.model, v), open_together) for v in ("v1", "v2")
    ]
    loaded = load_side_by_side(slots)

    assert loaded == daemons == [True, True]
    assert sorted(opened) == ["1", "2"]


def test_a_listed_version_that_does_not_exist_is_told_at_the_start(copy: Store) -> None:
    with pytest.raises(UnknownVersion, match="no version 'v9'"):
        make_pool(copy, "v1", "v9")


def test_all_starts_with_best_and_loads_others_when_they_are_asked_for(
    copy: Store,
) -> None:
    opened: list[str] = []
    best = copy.registry.resolve(copy.model, "best").number
    pool = make_pool(copy, opened=opened)
    pool.load_wanted()
    assert opened == [best]

    assert pool.get(None).version.number == best
    assert pool.get("v3").version.number == "3"

    assert opened == [best, "3"]


def test_the_least_recently_used_version_goes_when_there_are_too_many(
    copy: Store,
) -> None:
    opened: list[str] = []
    pool = make_pool(copy, opened=opened, max_loaded=2)
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
    pool = make_pool(copy, opened=opened, max_loaded=3)
    pool.load_wanted()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: pool.get("v4"), range(16)))

    assert opened.count("4") == 1
    assert len({id(predictor) for predictor in found}) == 1


def test_versions_may_come_and_go_while_others_are_asked_for(copy: Store) -> None:
    pool = make_pool(copy, max_loaded=2)
    pool.load_wanted()

    with ThreadPoolExecutor(8) as threads:
        asked = [str(1 + n % 4) for n in range(64)]
        found = list(threads.map(pool.get, asked))

    assert [predictor.version.number for predictor in found] == asked
    assert sum(s.state == "ready" for s in pool.statuses()) <= 2


def test_a_version_published_after_the_start_is_found(copy: Store) -> None:
    pool = make_pool(copy)
    pool.load_wanted()
    number = _publish(copy, "v2")

    assert pool.get(number).version.number == "5"


class _CountingRegistry(Registry):
    reads = 0

    def versions(self, model: str) -> list[Version]:
        self.reads += 1
        return super().versions(model)

    def versions_since(
        self, model: str, known: Sequence[Version]
    ) -> list[Version] | None:
        self.reads += 1
        return super().versions_since(model, known)


def test_the_registry_is_read_for_each_unknown_version_that_is_to_be_added(
    copy: Store,
) -> None:
    """Who waits for the registry's thread holds nothing that the thread waits for."""
    registry = _CountingRegistry(copy.uri)
    pool = make_pool(copy, "v1", registry=registry)
    pool.load_wanted()

    for _ in range(10):
        before = registry.reads
        with pytest.raises(UnknownVersion):
            pool.add("v99")
        assert registry.reads > before


def test_a_version_that_failed_for_good_is_opened_again_when_its_files_are_others(
    copy: Store,
) -> None:
    opened: list[str] = []
    copy.registry.set_alias(copy.model, "best", "1")
    pool = make_pool(copy, opened=opened)
    pool.load_wanted()
    graph = copy.bundle("v2").graph
    whole = graph.read_bytes()
    graph.write_bytes(whole[:1000])

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(pool.get, "v2") for _ in range(16)]
        for future in asked:
            with pytest.raises(VersionFailed, match=r"model\.onnx cannot be loaded"):
                future.result(WAIT_SECONDS)
    assert opened.count("2") == 1

    with pytest.raises(VersionFailed):
        pool.add("v2")  # tries again whatever is known
    assert opened.count("2") == 2
    graph.write_bytes(whole)
    assert pool.get("v2").version.number == "2"


def test_a_followed_alias_moves_when_the_files_of_its_version_are_put_back(
    copy: Store,
) -> None:
    opened: list[str] = []
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "@live", opened=opened)
    pool.load_wanted()
    graph = copy.bundle("v2").graph
    hidden = graph.rename(graph.with_name("hidden"))
    copy.registry.set_alias(copy.model, "live", "2")
    for _ in range(3):
        pool.read_registry()
    assert opened == ["1", "2"]

    hidden.rename(graph)
    pool.read_registry()

    assert pool.get("live").version.number == "2"


def test_files_that_are_away_are_asked_for_each_time(copy: Store) -> None:
    copy.registry.set_alias(copy.model, "best", "1")
    opened: list[str] = []
    pool = make_pool(copy, opened=opened)
    pool.load_wanted()
    folder = copy.bundle("v2").folder
    hidden = folder.rename(folder.with_name("hidden"))

    for _ in range(2):
        with pytest.raises(NotReady, match="cannot be read now") as raised:
            pool.get("v2")
        assert not isinstance(raised.value, VersionFailed)
    assert opened.count("2") == 2

    hidden.rename(folder)
    assert pool.get("v2").version.number == "2"


def test_an_int8_form_that_is_made_again_is_another_version(
    quantised_store: Store, tmp_path: Path
) -> None:
    copy = quantised_store.copy(tmp_path / "store")
    copy.registry.set_alias(copy.model, "best", "1")
    pool = make_pool(copy)
    pool.load_wanted()
    form = copy.registry.resolve(copy.model, "v2.int8")
    copy.bundle("v2.int8").graph.unlink()
    with pytest.raises(VersionFailed):
        pool.get("v2.int8")
    whole = copy.registry.resolve(copy.model, "v1")
    assert form.base is not None
    assert whole.model_id is not None
    copy.registry.tag_version(form.base, {"int8_model_id": whole.model_id})

    pool.read_registry()

    assert pool.get("v2.int8").bundle.folder == copy.bundle("v1").folder


def test_a_broken_version_of_a_list_ends_the_start(copy: Store) -> None:
    copy.bundle("v2").graph.unlink()
    pool = make_pool(copy, "v1", "v2")

    with pytest.raises(VersionFailed, match=r"2 .* model\.onnx is missing"):
        pool.load_wanted()

    assert not pool.is_ready
    assert pool.start_failure is not None
    states = {s.version.number: (s.state, s.reason) for s in pool.statuses()}
    assert states["1"] == ("ready", None)
    assert states["2"][0] == "failed"


def test_the_registry_may_go_away_after_the_start(copy: Store) -> None:
    pool = make_pool(copy, "v1", "v2")
    pool.load_wanted()
    database = copy.folder / "mlflow.db"
    database.write_bytes(b"no database any more")

    assert pool.get("v2").version.number == "2"
    assert [s.version.number for s in pool.statuses()] == ["1", "2", "3", "4"]


def test_a_load_in_progress_holds_up_no_other_version(copy: Store) -> None:
    registry = copy.registry
    begun, go_on = threading.Event(), threading.Event()
    open_at_once = opener(registry, [])

    def open_predictor(version: Version) -> Predictor:
        if version.number == "3":
            begun.set()
            assert go_on.wait(60)
        return open_at_once(version)

    watch = RegistryWatch(registry, copy.model, every_seconds=600)
    pool = PredictorPool(
        watch, open_predictor, model=copy.model, listed=(), max_loaded=4
    )
    pool.load_wanted()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.get, "v3")
        assert begun.wait(60)

        assert pool.get(None)
        assert {s.version.number: s.state for s in pool.statuses()}["3"] == "loading"

        go_on.set()
        assert waiting.result(60).version.number == "3"


def _publish(store: Store, like: str) -> str:
    """One more version, of the files of `like`; its number."""
    registry = store.registry
    model_id = registry.resolve(store.model, like).model_id
    assert model_id is not None
    return registry.register(store.model, model_id=model_id, run_id="", tags={}).number


def test_an_alias_is_followed_when_it_moves(copy: Store) -> None:
    opened: list[str] = []
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "@live", "v2", opened=opened)
    pool.load_wanted()
    before = pool.get("@live")
    copy.registry.set_alias(copy.model, "live", "3")

    pool.read_registry()

    assert pool.get("@live").version.number == "3"
    assert pool.get(None).version.number == "3"
    assert sorted(opened[:2]) == ["1", "2"]
    assert opened[2:] == ["3"]
    with pytest.raises(UnknownVersion, match="answers with v3, v2"):
        pool.get("v1")
    # Who had found the old one before is answered by it.
    images = np.zeros((1, *before.size, 3), np.uint8)
    assert before.batcher.submit(images, deadline=math.inf).result(60).failures == {}


def test_an_alias_that_is_deleted_is_served_as_it_was(copy: Store) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "@live")
    pool.load_wanted()
    copy.registry.client.delete_registered_model_alias(copy.model, "live")

    pool.read_registry()

    assert pool.get("@live").version.number == "1"


def test_the_default_of_all_follows_best(copy: Store) -> None:
    pool = make_pool(copy)
    pool.load_wanted()
    copy.registry.set_alias(copy.model, "best", "4")

    pool.read_registry()

    assert pool.get(None).version.number == "4"


def test_a_default_that_newly_cannot_be_loaded_stays_what_it_was(copy: Store) -> None:
    copy.registry.set_alias(copy.model, "best", "1")
    pool = make_pool(copy)
    pool.load_wanted()
    copy.bundle("v2").graph.unlink()
    copy.registry.set_alias(copy.model, "best", "2")

    pool.read_registry()

    assert pool.get(None).version.number == "1"
    assert "v1 answers where no version is named" in str(pool.status("v2").reason)
    for spelling in ("best", "@best"):
        with pytest.raises(VersionFailed, match="version 2 cannot be loaded"):
            pool.get(spelling)


def test_five_versions_are_tried_in_place_of_a_default_and_no_more(
    copy: Store,
) -> None:
    opened: list[str] = []
    copy.registry.set_alias(copy.model, "best", "1")
    for _ in range(4):
        _publish(copy, "v2")

    def fail(version: Version) -> Predictor:
        opened.append(version.number)
        raise FailedCheck("it answers with nothing")

    pool = make_pool(copy, open_predictor=fail)

    with pytest.raises(VersionFailed, match="version 1 cannot be loaded"):
        pool.load_wanted()

    assert opened == ["1", "8", "7", "6", "5", "4"]
    assert not pool.is_ready
    assert str(pool.start_failure).startswith("version 1: it answers with nothing")


def test_a_default_whose_files_are_away_is_replaced_too(copy: Store) -> None:
    copy.registry.set_alias(copy.model, "best", "2")
    folder = copy.bundle("v2").folder
    folder.rename(folder.with_name("hidden"))
    pool = make_pool(copy)

    pool.load_wanted()

    assert pool.get(None).version.number == "4"
    with pytest.raises(NotReady, match="cannot be read now"):
        pool.get("best")


def test_versions_are_added_to_a_list_and_taken_away(copy: Store) -> None:
    pool = make_pool(copy, "v1")
    pool.load_wanted()

    assert pool.add("v3").state == "ready"
    assert pool.get("v3").version.number == "3"
    assert pool.get(None).version.number == "1"

    assert pool.remove("v1").status.state == "available"
    assert pool.get(None).version.number == "3"
    with pytest.raises(UnknownVersion, match="answers with v3;"):
        pool.remove("v1")
    pool.remove("v3")
    with pytest.raises(UnknownVersion, match="answers with none"):
        pool.get(None)
    assert pool.is_ready


def test_with_all_a_version_that_was_taken_away_is_gone_until_it_is_added(
    copy: Store,
) -> None:
    pool = make_pool(copy, max_loaded=2)
    pool.load_wanted()
    pool.get("v3")

    pool.remove("v3")

    with pytest.raises(UnknownVersion, match="POST /versions/v3 serves it again"):
        pool.get("v3")
    pool.add("v3")
    assert pool.get("v3").version.number == "3"
    pool.add("v4")
    assert sum(s.state == "ready" for s in pool.statuses()) == 2


def test_a_broken_version_cannot_be_added_and_changes_nothing(copy: Store) -> None:
    pool = make_pool(copy, "v1")
    pool.load_wanted()
    copy.bundle("v2").graph.unlink()

    with pytest.raises(VersionFailed, match=r"loaded: model\.onnx is missing"):
        pool.add("v2")

    with pytest.raises(UnknownVersion, match="answers with v1;"):
        pool.get("v2")
    assert pool.status("v2").state == "failed"


def test_a_version_that_moves_while_it_is_asked_for_fails_no_request(
    copy: Store,
) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "@live")
    pool.load_wanted()
    done = threading.Event()

    def ask() -> int:
        images, count = np.zeros((1, *pool.get(None).size, 3), np.uint8), 0
        while not done.is_set() or count == 0:
            answer = (
                pool.get("@live").batcher.submit(images, deadline=math.inf).result(60)
            )
            assert answer.logits.shape == (1, 10)
            count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask) for _ in range(4)]
        for number in ("2", "3", "4", "1") * 3:
            copy.registry.set_alias(copy.model, "live", number)
            pool.read_registry()
            assert pool.get("@live").version.number == number
        done.set()
        assert all(future.result(60) > 0 for future in asking)


def test_another_process_serves_what_this_one_does(copy: Store) -> None:
    pool = make_pool(copy, "v1")
    pool.load_wanted()
    pool.add("v2")
    pool.remove("v1")

    other = make_pool(copy, "v1")
    other.adopt(json.loads(json.dumps(pool.names.state())))
    other.load_wanted()

    assert other.get(None).version.number == "2"
    with pytest.raises(UnknownVersion):
        other.get("v1")


def test_an_alias_that_is_added_again_leaves_its_old_version(copy: Store) -> None:
    copy.registry.set_alias(copy.model, "live", "1")
    pool = make_pool(copy, "v2", "@live")
    pool.load_wanted()
    copy.registry.set_alias(copy.model, "live", "3")

    pool.add("v4")  # reads nothing
    pool.add("@live", number="3")

    ready = [s.version.number for s in pool.statuses() if s.state == "ready"]
    assert ready == ["2", "3", "4"]
    with pytest.raises(UnknownVersion):
        pool.get("v1")


@pytest.mark.parametrize("asked", ["v3", "3", "@live"])
def test_what_the_registry_has_no_more_can_be_taken_away(
    copy: Store, asked: str
) -> None:
    copy.registry.set_alias(copy.model, "live", "3")
    pool = make_pool(copy, "v1", "@live")
    pool.load_wanted()
    copy.registry.client.delete_model_version(copy.model, "3")
    pool.read_registry()
    assert pool.get(asked).version.number == "3"

    removed = pool.remove(asked)

    assert (removed.status.version.number, removed.status.state) == ("3", "available")
    assert removed.names == ["@live"]
    with pytest.raises(UnknownVersion):
        pool.get(asked)

"""The thread that reads the registry: what it asks for, and that it goes on."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from classifier.store.registry import Registry
from classifier.store.versions import UnknownVersion, Version
from serving.versions import registry_watch
from serving.versions.names import ServedNames
from serving.versions.registry_watch import RegistryWatch
from tests.conftest import WAIT_SECONDS, Store


class _Registry(Registry):
    is_strange = False
    whole_lists = 0

    def versions(self, model: str) -> list[Version]:
        self.whole_lists += 1
        if self.is_strange:
            raise ValueError("what is this?")
        return super().versions(model)


def test_what_nobody_foresaw_does_not_end_the_reading(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    registry = _Registry(store.uri)
    watch = RegistryWatch(registry, store.model, every_seconds=600)
    watch.start(lambda: None)
    was_up = []

    for registry.is_strange in (True, False):
        watch.read_now(timeout_seconds=WAIT_SECONDS)
        was_up.append(watch.is_up)

    assert was_up == [False, True]
    assert "what is this?" in caplog.text
    watch.close()


def test_what_fails_to_follow_does_not_end_the_reading(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def follow() -> None:
        raise ValueError("where to?")

    watch = RegistryWatch(store.registry, store.model, every_seconds=600)
    watch.start(follow)

    for _ in range(3):
        before = watch.versions
        watch.read_now(timeout_seconds=WAIT_SECONDS)
        assert watch.versions is not before

    assert "where to?" in caplog.text
    watch.close()


class _Watching:
    """A watch that looks all the time."""

    def __init__(self, store: Store) -> None:
        self.registry = _Registry(store.uri)
        self.watch = RegistryWatch(self.registry, store.model, every_seconds=0.01)
        self._is_there: Callable[[list[Version]], bool] = lambda versions: True
        self._seen = Event()
        self.watch.start(self._look)

    def wait_for(self, is_there: Callable[[list[Version]], bool]) -> None:
        self._is_there = is_there
        self._seen.clear()
        assert self._seen.wait(WAIT_SECONDS)

    def _look(self) -> None:
        if self._is_there(self.watch.versions):
            self._seen.set()


@pytest.fixture
def watching(copy: Store) -> Iterator[_Watching]:
    made = _Watching(copy)
    yield made
    made.watch.close()


def _numbers(versions: list[Version]) -> list[str]:
    return [version.number for version in versions]


def test_what_is_new_and_aliases_are_seen_without_a_list_of_all(
    watching: _Watching, copy: Store
) -> None:
    first = copy.registry.resolve(copy.model, "v1")
    assert first.model_id is not None
    copy.registry.set_alias(copy.model, "live", "1")
    copy.registry.register(copy.model, model_id=first.model_id, run_id="", tags={})

    watching.wait_for(lambda found: len(found) == 5 and "live" in found[0].aliases)
    copy.registry.set_alias(copy.model, "live", "5")
    watching.wait_for(lambda found: found[4].aliases == ("live",))
    copy.registry.client.delete_registered_model_alias(copy.model, "live")
    watching.wait_for(lambda found: found[4].aliases == ())

    assert watching.registry.whole_lists == 1  # before the thread began
    assert watching.watch.versions == copy.registry.versions(copy.model)


def test_a_deleted_version_is_gone_after_a_list_of_all(
    watching: _Watching, copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = copy.registry.client
    client.delete_model_version(copy.model, "4")
    watching.wait_for(lambda found: _numbers(found) == ["1", "2", "3"])
    assert watching.registry.whole_lists == 2  # the latest one is missed at once

    client.delete_model_version(copy.model, "2")
    monkeypatch.setattr(registry_watch, "WHOLE_SECONDS", 0)

    watching.wait_for(lambda found: _numbers(found) == ["1", "3"])


def test_a_changed_tag_is_seen_when_somebody_wants_to_know(
    watching: _Watching, copy: Store
) -> None:
    version = copy.registry.resolve(copy.model, "v1")
    copy.registry.tag_version(version, {"int8_model_id": "m-int8"})

    watching.watch.read_now(timeout_seconds=WAIT_SECONDS)

    assert watching.watch.versions[0].int8 is not None


def test_an_unknown_name_is_looked_for_without_a_list_of_all(
    copy: Store,
) -> None:
    registry = _Registry(copy.uri)
    watch = RegistryWatch(registry, copy.model, every_seconds=600)
    names = ServedNames(watch, model=copy.model, listed=())
    watch.start(lambda: None)

    for asked in ("v99", "nobody", "nobody", "@none"):
        with pytest.raises(UnknownVersion):
            names.find(asked)

    assert registry.whole_lists == 1  # before the thread began
    with pytest.raises(UnknownVersion):
        names.find("v1.int8")  # which is a tag, and tags are not looked at
    assert registry.whole_lists == 2
    watch.close()


def test_requests_for_unknown_names_do_not_take_all_threads(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_watch, "MOST_WAITING", 1)
    registry = _Registry(store.uri)
    watch = RegistryWatch(registry, store.model, every_seconds=600)
    reading, go_on = Event(), Event()

    def hang() -> None:
        reading.set()
        go_on.wait(WAIT_SECONDS)

    with ThreadPoolExecutor(1) as threads:
        watch.start(hang)
        watch.read_now(timeout_seconds=WAIT_SECONDS)
        assert reading.wait(WAIT_SECONDS)
        first = threads.submit(watch.read_now, timeout_seconds=WAIT_SECONDS)
        while watch.waiting == 0:
            pass
        watch.read_now(timeout_seconds=WAIT_SECONDS)
        assert not first.done()
        go_on.set()
        first.result(WAIT_SECONDS)
    watch.close()


def test_a_model_that_is_gone_is_a_registry_that_is_away(
    watching: _Watching, copy: Store
) -> None:
    copy.registry.client.delete_registered_model(copy.model)

    watching.wait_for(lambda found: not watching.watch.is_up)

    assert _numbers(watching.watch.versions) == ["1", "2", "3", "4"]


ASKED_ON_A_LOOP = """
from gevent import monkey
monkey.patch_all()
from types import SimpleNamespace
from serving.inference.native import thread_ident
from serving.versions.registry_watch import ask_store

loop = thread_ident()
for uri in ("sqlite:////tmp/mlflow.db", "http://localhost", "https://localhost"):
    print(ask_store(SimpleNamespace(uri=uri), thread_ident) == loop)
"""


def test_a_store_over_http_is_asked_on_the_loop_as_its_connections_are_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKED_ON_A_LOOP],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )

    assert (done.stdout.split(), done.stderr) == (["False", "True", "True"], "")

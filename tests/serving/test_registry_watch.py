"""The thread that reads the registry goes on, whatever it finds."""

import pytest

from classifier.registry import Registry
from classifier.versions import Version
from serving.registry_watch import RegistryWatch
from tests.conftest import WAIT_SECONDS, Store


class _Registry(Registry):
    is_strange = False

    def versions(self, model: str) -> list[Version]:
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

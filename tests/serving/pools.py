"""Pools over a store of a test's own, which may be changed."""

from collections.abc import Callable
from pathlib import Path

from classifier.bundle.files import Bundle, read_bundle
from classifier.inference.backends.open import open_backend
from classifier.store.registry import Registry
from classifier.store.versions import Version
from serving.inference.predictor import Predictor
from serving.versions.pool import PredictorPool
from serving.versions.registry_watch import RegistryWatch
from tests.conftest import Store

Open = Callable[[Version], Predictor]


def four_versions(store: Store, folder: Path) -> Store:
    """A copy with four versions of the same files."""
    copied = store.copy(folder)
    registry = copied.registry
    first = registry.resolve(store.model, "v1")
    assert first.model_id is not None
    for _ in range(2):
        registry.register(
            store.model, model_id=first.model_id, run_id=first.run_id or "", tags={}
        )
    return copied


def opener(
    registry: Registry,
    opened: list[str],
    *,
    bundle_of: Callable[[Version], Bundle] | None = None,
) -> Open:
    """Notes what it opens."""

    def open_predictor(version: Version) -> Predictor:
        opened.append(version.number)
        read = bundle_of or (lambda version: read_bundle(registry.fetch(version)))
        bundle = read(version)
        backend = open_backend("onnx", bundle, device="cpu", threads=1)
        return Predictor(version, bundle, backend, max_batch_size=4)

    return open_predictor


def make_pool(
    store: Store,
    *listed: str,
    opened: list[str] | None = None,
    max_loaded: int = 2,
    most_waiting: int = 28,
    registry: Registry | None = None,
    open_predictor: Open | None = None,
) -> PredictorPool:
    registry = registry or store.registry
    opened = [] if opened is None else opened
    watch = RegistryWatch(registry, store.model, every_seconds=600)
    return PredictorPool(
        watch,
        open_predictor or opener(registry, opened, bundle_of=watch.bundle),
        model=store.model,
        listed=listed,
        max_loaded=max_loaded,
        most_waiting=most_waiting,
    )

"""From settings to a pool of versions, and the thread that loads it."""

import threading
from collections.abc import Callable

from classifier.bundle import read_bundle
from classifier.cores import usable_cores
from classifier.registry import Registry
from classifier.versions import Version
from serving.backend import DeviceUnavailable, has_gpu, open_backend
from serving.config import ServingConfig
from serving.predictor import Predictor
from serving.predictor_pool import PredictorPool


def open_pool(config: ServingConfig) -> PredictorPool:
    """Finds the versions to serve, without loading them yet.

    StoreUnavailable, UnknownModel, UnknownVersion; DeviceUnavailable for CUDA without
    a GPU, so that it is told before anything is promised.
    """
    if config.device == "cuda" and not has_gpu():
        raise DeviceUnavailable(
            "--device cuda was asked for, but no usable GPU was found; use --device "
            "auto or cpu"
        )
    registry = Registry()

    def open_predictor(version: Version) -> Predictor:
        bundle = read_bundle(registry.fetch(version))
        backend = open_backend(
            config.backend,
            bundle,
            device=config.device,
            threads=max(1, usable_cores() // config.workers),
        )
        return Predictor(version, bundle, backend, config.max_batch_size)

    return PredictorPool(
        registry,
        open_predictor,
        model=registry.model_name(config.model),
        listed=config.listed,
        max_loaded=config.max_loaded,
    )


def start_loading(
    pool: PredictorPool,
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_failure: Callable[[Exception], None] = lambda error: None,
) -> threading.Thread:
    """Loads what is served from the start while requests for other things are answered.

    The thread ends when all is loaded; until then /readyz answers 503.
    """

    def load() -> None:
        try:
            pool.load_wanted()
        except Exception as error:  # logged with its reason by the pool
            on_failure(error)
        else:
            on_ready()

    thread = threading.Thread(target=load, name="load-versions", daemon=True)
    thread.start()
    return thread

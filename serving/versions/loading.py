"""From settings to a pool of versions, and the thread that loads it."""

import threading
from collections.abc import Callable

from classifier.bundle.files import Bundle
from classifier.hardware import DeviceUnavailable, has_gpu, usable_cores
from classifier.inference.backends.open import open_backend
from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry
from classifier.store.versions import Version
from serving.config import THREADS_TO_SPARE, ServingConfig
from serving.inference.batcher import RunningBatches
from serving.inference.predictor import Predictor
from serving.metrics import Metrics
from serving.versions.load_guard import LoadGuard, LoadLimits
from serving.versions.pool import PredictorPool
from serving.versions.registry_watch import RegistryWatch


def open_pool(config: ServingConfig, metrics: Metrics) -> PredictorPool:
    """Finds the versions to serve, without loading them yet.

    StoreUnavailable, UnknownModel, UnknownVersion; DeviceUnavailable for CUDA without
    a GPU, so that it is told before anything is promised.
    """
    _check_device(config)
    registry = Registry()
    model = registry.model_name(config.model)
    watch = RegistryWatch(registry, model, every_seconds=config.follow_seconds)
    # ONNX Runtime's in this process: one batch alone has all, several have one each.
    running = RunningBatches(max(1, usable_cores() // config.workers))
    limits = LoadLimits(seconds=config.load_seconds, megabytes=config.load_megabytes)
    guard = LoadGuard(limits, threads=running.cores)

    def open_predictor(version: Version) -> Predictor:
        with metrics.load(version.number):
            bundle = guard.within(
                lambda: watch.bundle(version),
                # The place of the files is slow or hangs: the version may be sound.
                late=StoreUnavailable(
                    f"the files of version {version.number} could not be read in "
                    f"{limits.seconds:g} s (--load-seconds)"
                ),
            )
            limits.check_size(bundle, largest=config.max_batch_size)
            if config.backend == "onnx":
                # On the CPU, where a large batch of what a GPU is for takes minutes.
                on_gpu = config.device != "cpu" and has_gpu()
                guard.try_out(bundle, largest=1 if on_gpu else config.max_batch_size)
            return guard.within(
                lambda: _load(
                    version, bundle, config, running=running, metrics=metrics
                ),
                late=limits.took_too_long,
                drop=Predictor.close,
            )

    return PredictorPool(
        watch,
        open_predictor,
        model=model,
        listed=config.listed,
        max_loaded=config.max_loaded,
        # The other places stay free for versions that are ready.
        most_waiting=max(1, (config.threads - THREADS_TO_SPARE) // 4),
        stop_loads=guard.stop,
        observe_default=metrics.default_fallback.set,
    )


def _check_device(config: ServingConfig) -> None:
    """DeviceUnavailable."""
    if config.device == "cuda" and not has_gpu():
        raise DeviceUnavailable(
            "--device cuda was asked for, but no usable GPU was found; use --device "
            "auto or cpu"
        )


def _load(
    version: Version,
    bundle: Bundle,
    config: ServingConfig,
    *,
    running: RunningBatches,
    metrics: Metrics,
) -> Predictor:
    backend = open_backend(
        config.backend,
        bundle,
        device=config.device,
        precision=config.precision,
        threads=running.cores,
    )
    fell_back = config.device == "auto" and backend.device == "cpu"
    metrics.device_fallback.set(fell_back)
    return Predictor(
        version,
        bundle,
        backend,
        max_batch_size=config.max_batch_size,
        max_wait_ms=config.max_wait_ms,
        max_queued=config.max_queued,
        running=running,
        observe=metrics.batch_observer(version.number),
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

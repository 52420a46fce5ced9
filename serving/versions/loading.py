"""Builds the pool of versions from the settings, and starts the loading thread."""

import threading
from collections.abc import Callable
from dataclasses import replace

from classifier.bundle.files import Bundle
from classifier.hardware import DeviceUnavailable, has_gpu, usable_cores
from classifier.inference.backends.open import open_backend
from classifier.store.location import StoreUnavailable
from classifier.store.registry import Registry
from classifier.store.versions import UnknownModel, Version, split_name
from serving.config import ServingConfig
from serving.inference.batcher import RunningBatches
from serving.inference.predictor import Predictor
from serving.metrics import Metrics
from serving.versions.load_guard import LoadGuard, LoadLimits
from serving.versions.pool import PredictorPool
from serving.versions.registry_watch import RegistryWatch


def open_pool(config: ServingConfig, metrics: Metrics) -> PredictorPool:
    """Finds the versions to serve, without loading them.

    Raises StoreUnavailable, UnknownModel, UnknownVersion, or DeviceUnavailable for CUDA
    without a GPU.
    """
    _check_device(config)
    registry = Registry()
    models = _models(registry, config)
    watch = RegistryWatch(registry, *models, every_seconds=config.follow_seconds)
    # ONNX Runtime's cores in this process: a lone batch uses all, several one each.
    running = RunningBatches(max(1, usable_cores() // config.workers))
    limits = LoadLimits(seconds=config.load_seconds, megabytes=config.load_megabytes)
    guard = LoadGuard(limits, threads=running.cores)

    def open_predictor(version: Version) -> Predictor:
        with metrics.load(version.name):
            bundle = guard.within(
                lambda: watch.bundle(version),
                # The storage is slow or hangs; the version may be valid.
                late=StoreUnavailable(
                    f"the files of version {version.name} could not be read in "
                    f"{limits.seconds:g} s (--load-seconds)"
                ),
            )
            limits.check_size(bundle, largest=config.max_batch_size)
            largest = config.max_batch_size
            # The trial runs on the CPU, where a large batch for a GPU takes minutes.
            if config.backend == "onnx" and config.device != "cpu" and has_gpu():
                guard.try_out(bundle, largest=1)
            elif config.backend == "onnx":
                largest = guard.largest_batch(bundle, largest=largest)
            settings = replace(config, max_batch_size=largest)
            return guard.within(
                lambda: _load(
                    version, bundle, settings, running=running, metrics=metrics
                ),
                late=limits.took_too_long,
                drop=Predictor.close,
            )

    return PredictorPool(
        watch,
        open_predictor,
        model=config.model or models[0],
        listed=config.listed,
        max_loaded=config.max_loaded,
        # Other places stay free for requests for ready versions.
        most_waiting=max(1, config.threads // 4),
        stop_loads=guard.stop,
        observe_default=metrics.default_fallback.set,
    )


def _models(registry: Registry, config: ServingConfig) -> list[str]:
    """The models of the listed versions, else the one of --model, or the only one.

    Raises UnknownModel.
    """
    if not config.listed:
        return [registry.model_name(config.model)]
    asked: dict[str | None, str] = {}
    for name in config.listed:
        asked.setdefault(split_name(name)[0] or config.model, name)
    models = []
    for model, name in asked.items():
        try:
            models.append(registry.model_name(model))
        except UnknownModel as error:
            raise UnknownModel(f"version {name} of --versions: {error}") from error
    return list(dict.fromkeys(models))


def _check_device(config: ServingConfig) -> None:
    """Raises DeviceUnavailable for CUDA without a GPU."""
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
        allowed=[name.strip() for name in config.allow_network.split(",")],
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
        metrics=metrics.of_batches(version.name),
    )


def start_loading(
    pool: PredictorPool,
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_failure: Callable[[Exception], None] = lambda error: None,
) -> threading.Thread:
    """Starts a thread that loads the versions that are served at the start.

    /readyz answers 503 until the thread has ended.
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

"""Builds the pool of versions from the settings, and starts the loading thread."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from classifier.bundle.files import Bundle
from classifier.hardware import DeviceUnavailable, Form, has_gpu, usable_cores
from classifier.inference.backends.base import Backend
from classifier.inference.backends.open import (
    check_form,
    import_engine,
    open_backend,
)
from classifier.inference.predict import warm_up
from classifier.store.cache.last_seen import last_models
from classifier.store.location import StoreUnavailable
from classifier.store.maintenance.in_use import hold
from classifier.store.registry import Registry
from classifier.store.versions import UnknownModel, Version, split_name
from serving.config import ServingConfig
from serving.inference.batcher import RunningBatches
from serving.inference.native import run_natively
from serving.inference.predictor import Predictor, Proof
from serving.metrics import Metrics
from serving.versions.fast_form import FastForms
from serving.versions.load_guard import LoadGuard, LoadLimits
from serving.versions.pool import PredictorPool
from serving.versions.registry_watch import RegistryWatch


class NoInt8Form(DeviceUnavailable):
    """--precision int8 was asked for, and the version has no int8 form yet."""


def open_pool(
    config: ServingConfig, metrics: Metrics, *, running: RunningBatches | None = None
) -> PredictorPool:
    """Finds the versions to serve, without loading them.

    `running` counts the batches of all processes; without it each process has its own
    share of the cores.

    Raises StoreUnavailable, UnknownModel, UnknownVersion, or DeviceUnavailable for CUDA
    without a GPU, or for an engine or precision that this machine has not.
    """
    _check_device(config)
    check_form(config.form)
    import_engine(config.backend)
    registry = Registry(natively=run_natively)
    models = _models(registry, config)
    watch = RegistryWatch(registry, *models, every_seconds=config.follow_seconds)
    running = running or RunningBatches(max(1, usable_cores() // config.workers))
    limits = LoadLimits(seconds=config.load_seconds, megabytes=config.load_megabytes)
    guard = LoadGuard(limits, threads=running.cores)

    def open_predictor(version: Version) -> Predictor:
        with metrics.load(version.name), ExitStack() as failed:
            files = _files_of(version, config.form)
            bundle = guard.within(
                lambda: watch.bundle(files),
                # The storage is slow or hangs; the version may be valid.
                late=StoreUnavailable(
                    f"the files of version {version.name} could not be read in "
                    f"{limits.seconds:g} s (--load-seconds)"
                ),
            )
            # `python -m classifier prune` leaves a version that is in memory.
            held = run_natively(hold, files.model_id, bundle.folder)
            failed.callback(held.close)
            on_gpu = config.backend == "onnx" and config.device != "cpu" and has_gpu()
            limits.check_size(bundle, largest=config.max_batch_size)
            largest = config.max_batch_size
            # The trial runs on the CPU, where a large batch for a GPU takes minutes.
            if on_gpu:
                guard.try_out(bundle, largest=1)
            elif config.backend != "torch":
                largest = guard.largest_batch(bundle, largest=largest, form=config.form)
            settings = replace(config, max_batch_size=largest)
            predictor = guard.within(
                lambda: run_natively(
                    _load, version, bundle, settings, running=running, metrics=metrics
                ),
                late=limits.took_too_long,
                drop=Predictor.close,
            )
            predictor.held = failed.pop_all()
        # An int8 form has no other.
        if config.precision == "auto" and version.base is None:
            if on_gpu:
                predictor.proof = Proof("a GPU runs it, in fp32")
            else:
                forms.improve(predictor, largest=largest)
        return predictor

    forms = _fast_forms(
        config, guard, limits, watch, wait_until_ready=lambda: pool.started.wait()
    )
    pool = PredictorPool(
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
    return pool


def _models(registry: Registry, config: ServingConfig) -> list[str]:
    """The models of the listed versions, else the one of --model, or the only one.

    Raises UnknownModel.
    """
    if not config.listed:
        return [model_of(registry, config.model)]
    asked: dict[str | None, str] = {}
    for name in config.listed:
        asked.setdefault(split_name(name)[0] or config.model, name)
    models = []
    for model, name in asked.items():
        try:
            models.append(model_of(registry, model))
        except UnknownModel as error:
            raise UnknownModel(f"version {name} of --versions: {error}") from error
    return list(dict.fromkeys(models))


def model_of(registry: Registry, name: str | None) -> str:
    """As Registry.model_name; while the registry is away, of the models that a service
    of this user has read from it. Raises UnknownModel or StoreUnavailable."""
    try:
        return registry.model_name(name)
    except StoreUnavailable:
        seen = last_models(registry.uri)
        known = seen if name is None else [model for model in seen if model == name]
        if len(known) != 1:
            raise
        return known[0]


def _files_of(version: Version, form: Form) -> Version:
    """The version, or its int8 form, whose files are run. Raises NoInt8Form."""
    if form.precision != "int8" or version.base is not None:
        return version
    if version.int8 is None:
        raise NoInt8Form(
            f"it has no int8 form; make it with python -m training --quantize "
            f"v{version.number} --data PATH, or use --precision fp32"
        )
    return version.int8


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
    # torch and its threads know nothing of other processes' batches.
    threads = running.at_once if config.backend == "torch" else running.cores
    backend = _open(bundle, config.form, config, threads=threads)
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


def _open(
    bundle: Bundle, form: Form, config: ServingConfig, *, threads: int
) -> Backend:
    return open_backend(
        form.backend,
        bundle,
        device=config.device,
        precision=form.precision,
        threads=threads,
        allowed=[name.strip() for name in config.allow_network.split(",")],
    )


def _fast_forms(
    config: ServingConfig,
    guard: LoadGuard,
    limits: LoadLimits,
    watch: RegistryWatch,
    *,
    wait_until_ready: Callable[[], object],
) -> FastForms:
    def open_warm(form: Form, bundle: Bundle, largest: int) -> Backend:
        return guard.within(
            lambda: run_natively(
                _open_warm, bundle, form, config, guard.threads, largest
            ),
            late=limits.took_too_long,
        )

    return FastForms(
        guard,
        watch,
        first=config.form,
        max_flips=config.max_flips,
        wait_until_ready=wait_until_ready,
        open_warm=open_warm,
    )


def _open_warm(
    bundle: Bundle, form: Form, config: ServingConfig, threads: int, largest: int
) -> Backend:
    backend = _open(bundle, form, config, threads=threads)
    warm_up(bundle, backend, largest=largest)
    return backend


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

"""The service's metrics for Prometheus; the only place that names them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.config import METRICS_FOLDER_VARIABLE
from serving.inference.batcher import BatchMetrics

SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
    *(2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the histograms of time: a lone image takes 2 to 5 ms."""

Labels = TypeVar("Labels", bound=tuple[str, ...])

IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one app, summed over its processes if PROMETHEUS_MULTIPROC_DIR is
    set. prometheus_client reads that variable when it is imported.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter = partial(Counter, namespace="serving", registry=registry)
        histogram = partial(
            Histogram, namespace="serving", registry=registry, buckets=SECONDS
        )
        self.requests = counter(
            "requests",
            "Requests answered, once for each requested version; '' if none.",
            ("route", "version", "code"),
        )
        self.rejected = counter(
            "rejected", "Requests refused, by the error's code.", ("reason",)
        )
        self.shadow_images = counter(
            "shadow_images",
            "Images that the shadow version was to be asked: agreed or disagreed with "
            "the default version's first answer, dropped (busy) or failed.",
            ("version", "shadow", "result"),
        )
        self.loads = counter("model_loads", "Versions loaded.", ("version", "result"))
        self.request_seconds = histogram(
            "request_duration_seconds",
            "From a request's head to its answer.",
            ("route",),
        )
        self.decode_seconds = histogram(
            "decode_duration_seconds", "Decoding and resizing all images of a request."
        )
        self.queue_seconds = histogram(
            "queue_duration_seconds",
            "How long a request waited for the network.",
            ("version",),
        )
        self.inference_seconds = histogram(
            "inference_duration_seconds",
            "One run of the network on a batch.",
            ("version",),
        )
        self.batch_size = histogram(
            "batch_size", "Images of a batch.", ("version",), buckets=IMAGES
        )
        self._add_gauges(partial(Gauge, namespace="serving", registry=registry))
        # prometheus_client makes a key of the labels anew each time.
        self._requests_of = lru_cache(self.requests.labels)
        self._seconds_of = lru_cache(self.request_seconds.labels)

    def _add_gauges(self, gauge: Callable[..., Gauge]) -> None:
        self.queue_depth = gauge(
            "queue_depth",
            "Images that waited when a batch was done.",
            ("version",),
            multiprocess_mode="livesum",
        )
        self.registry_up = gauge(
            "registry_up",
            "Whether the registry could be read the last time.",
            multiprocess_mode="livemin",
        )
        self.keys_up = gauge(
            "keys_up",
            "0 where the file of keys is broken and the keys before it stay.",
            multiprocess_mode="livemin",
        )
        self.device_fallback = gauge(
            "device_fallback",
            "1 where --device auto ended on the CPU; the log says why.",
            multiprocess_mode="livemax",
        )
        self.default_fallback = gauge(
            "default_fallback",
            "1 where --versions all answers with another version than best, else the "
            "latest, as that one cannot be loaded; /versions says why.",
            multiprocess_mode="livemax",
        )
        self.registry_up.set(1)
        self.keys_up.set(1)

    def of_batches(self, version: str) -> BatchMetrics:
        return BatchMetrics(
            images=self.batch_size.labels(version).observe,
            queue_seconds=self.queue_seconds.labels(version).observe,
            inference_seconds=self.inference_seconds.labels(version).observe,
            still_queued=self.queue_depth.labels(version).set,
        )

    def count_request(
        self, route: str, versions: Sequence[str], status: int, seconds: float
    ) -> None:
        for version in versions or ("",):
            self._requests_of(route, version, status).inc()
        self._seconds_of(route).observe(seconds)

    def count_shadow(self, pair: tuple[str, str], result: str, images: int) -> None:
        self.shadow_images.labels(*pair, result).inc(images)

    @contextmanager
    def load(self, version: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.loads.labels(version, "failed").inc()
            raise
        self.loads.labels(version, "loaded").inc()

    def text(self, now: "Now") -> bytes:
        """The text that Prometheus reads."""
        registry = self._registry
        if METRICS_FOLDER_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # theirs
        info = CollectorRegistry()
        info.register(_Snapshot(now))
        return generate_latest(registry) + generate_latest(info)


@dataclass(frozen=True, kw_only=True)
class Now:
    """What is looked up for each reading: versions, hours and comparisons change."""

    is_ready: bool
    """Whether /readyz answers 200."""

    served: Sequence[Mapping[str, str]]
    """Labels of each version in memory."""

    flips: Mapping[str, float | None]
    """Share of first answers that differ from fp32's, by proved version."""

    rates: Mapping[tuple[str, str], Mapping[str, float | None]]
    """Disagreement of default and shadow version this hour, and its bounds."""

    compared: Mapping[tuple[str, str, str], Mapping[str, float | None]]
    """Images of the last comparison by result; the key is its model, a and b."""


class _Snapshot(Collector):
    """Metrics that are made anew for each reading."""

    def __init__(self, now: Now) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "serving_ready", "Whether /readyz answers 200.", value=self._now.is_ready
        )
        yield self._model_info()
        yield _family(
            "serving_model_flips",
            "Share of the kept images whose first answer is not fp32's.",
            ("version",),
            {(version,): share for version, share in self._now.flips.items()},
        )
        yield _family(
            "serving_shadow_disagreement_rate",
            "Share of this hour's images (UTC) on which the first answers of default "
            "and shadow version differ, and its 95 % interval.",
            ("version", "shadow", "bound"),
            _by_last_label(self._now.rates),
        )
        yield _family(
            "serving_comparison_images",
            "Images of the last comparison in the store: all, broken and fixed by b.",
            ("model", "a", "b", "result"),
            _by_last_label(self._now.compared),
        )

    def _model_info(self) -> Metric:
        served = self._now.served
        names = list(served[0]) if served else []
        family = GaugeMetricFamily(
            "serving_model_info", "The versions in memory.", labels=names
        )
        for labels in served:
            family.add_metric(list(labels.values()), 1)
        return family


def _by_last_label(
    values: Mapping[Labels, Mapping[str, float | None]],
) -> dict[tuple[str, ...], float | None]:
    return {
        (*labels, last): value
        for labels, by_last in values.items()
        for last, value in by_last.items()
    }


def _family(
    name: str,
    meaning: str,
    labels: Sequence[str],
    values: Mapping[tuple[str, ...], float | None],
) -> Metric:
    """A gauge; a value of None is left out."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for of_labels, value in values.items():
        if value is not None:
            family.add_metric(of_labels, value)
    return family

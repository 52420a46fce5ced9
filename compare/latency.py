"""How long one image takes: single requests to both versions, asked alternately."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compare.client import Service
from compare.contract import ServedVersion
from compare.intervals import Estimate
from compare.probing import spread
from compare.responses import ServiceUnavailable

REQUESTS = 200
LONGEST_SECONDS = 5.0
"""Fewer requests have to do where a service is slow."""

RESAMPLES = 2000
FEWEST = 2


def measure_latency(
    service: Service, files: Sequence[Path], a: ServedVersion, b: ServedVersion
) -> dict[str, Any]:
    """The part `latency` of run.json; null with a note where the service fails.

    `files` are images that both can read. `service` should have little patience:
    what it had to ask twice does not count.
    """
    files = spread(files, REQUESTS)
    if not files:
        return {"latency": None, "latency_note": "not measured: no image is answered"}
    times_ms: list[tuple[float, float]] = []
    try:
        _ask_in_turn(service, files[0], a, b)  # opens the connection
        end = time.monotonic() + LONGEST_SECONDS
        for place in range(REQUESTS):
            if time.monotonic() > end:
                break
            before = service.retries
            pair = _ask_in_turn(service, files[place % len(files)], a, b)
            if service.retries == before:
                times_ms.append(pair)
    except (ServiceUnavailable, OSError) as error:
        return {"latency": None, "latency_note": f"not measured: {error}"}
    if len(times_ms) < FEWEST:
        return {"latency": None, "latency_note": "not measured: the service was busy"}
    return {"latency": _described(np.array(times_ms))}


def _ask_in_turn(
    service: Service, file: Path, a: ServedVersion, b: ServedVersion
) -> tuple[float, float]:
    """Milliseconds of a's and of b's answer."""
    image = (file.name, file.read_bytes())
    started = time.perf_counter()
    service.ask([image], [a])
    between = time.perf_counter()
    service.ask([image], [b])
    return 1000 * (between - started), 1000 * (time.perf_counter() - between)


def _described(times_ms: NDArray[np.float64]) -> dict[str, Any]:
    """`times_ms` has a row for each image: a's, b's."""
    low, high = _interval(times_ms)
    a_median, b_median = np.median(times_ms, axis=0)
    return {
        "a": _one(times_ms[:, 0]),
        "b": _one(times_ms[:, 1]),
        "median_difference_ms": asdict(Estimate(float(b_median - a_median), low, high)),
    }


def _one(times_ms: NDArray[np.float64]) -> dict[str, Any]:
    p50, p95 = np.quantile(times_ms, (0.5, 0.95))
    return {
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "requests": len(times_ms),
        "samples_ms": times_ms.round(3).tolist(),
    }


def _interval(times_ms: NDArray[np.float64]) -> tuple[float, float]:
    """Of the difference of medians: the percentile bootstrap's 95 %, images drawn
    with both their times (Efron and Tibshirani 1993, chapter 13)."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(times_ms), size=(RESAMPLES, len(times_ms)))
    medians = np.median(times_ms[drawn], axis=1)  # [RESAMPLES, 2]
    low, high = np.quantile(medians[:, 1] - medians[:, 0], (0.025, 0.975))
    return float(low), float(high)

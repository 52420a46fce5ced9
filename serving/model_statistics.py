"""The statistics extension: what the metrics know of a version, in Triton's words."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.samples import Sample


def statistics(
    samples: Iterable[Sample], *, model: str, version: str
) -> dict[str, Any]:
    """Since the service started, over all processes and dialects.

    A request's whole time is not kept by version, so `success` has the part of it that
    is: the waits for the network and its runs. What is not known at all is 0.
    """
    own = [s for s in samples if s.labels.get("version") == version]
    waited = _seconds(own, "serving_queue_duration_seconds")
    ran = _seconds(own, "serving_inference_duration_seconds")
    answered = _sum(own, "serving_requests_total", code="200")
    refused = _sum(own, "serving_requests_total") - answered
    return {
        "name": model,
        "version": version,
        "inference_count": int(_sum(own, "serving_batch_size_sum")),  # of images
        "execution_count": ran["count"],
        "inference_stats": {
            "success": {"count": int(answered), "ns": waited["ns"] + ran["ns"]},
            "fail": {"count": int(refused), "ns": 0},
            "queue": waited,
            "compute_input": {"count": 0, "ns": 0},
            "compute_infer": ran,
            "compute_output": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    }


def _seconds(samples: Iterable[Sample], histogram: str) -> dict[str, int]:
    return {
        "count": int(_sum(samples, f"{histogram}_count")),
        "ns": round(1e9 * _sum(samples, f"{histogram}_sum")),
    }


def _sum(samples: Iterable[Sample], name: str, **labels: str) -> float:
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )

"""Single requests to both versions, one after the other."""

import contextlib
import math

from classifier.dataset import Dataset
from compare.client import Service
from compare.images import labelled_images
from compare.latency import measure_latency
from tests.conftest import RunningService


def test_both_versions_are_timed_over_images_that_are_asked_in_a_circle(
    service: RunningService, digits: Dataset
) -> None:
    images = labelled_images(digits, 3)
    with contextlib.closing(Service(service.url, patience_seconds=5)) as client:
        a, b = client.version("v1"), client.version("v2")
        timed = measure_latency(client, images, a, b)
        expected = client.ask([("x", images.files[1].read_bytes())], [a, b])
    latency = timed.facts["latency"]

    assert set(timed.answers) == set(images.names)
    given = timed.answers[images.names[1]]
    assert (given.a, given.b) == expected[0]
    for side in ("a", "b"):
        assert 0 < latency[side]["p50_ms"] <= latency[side]["p95_ms"]
        assert 2 <= latency[side]["requests"] <= 200
    change = latency["median_difference_ms"]
    assert change["low"] <= change["high"]
    difference = latency["b"]["p50_ms"] - latency["a"]["p50_ms"]
    assert math.isclose(change["value"], difference, abs_tol=1e-9)


def test_a_service_that_has_gone_leaves_a_note_in_its_place(
    service: RunningService, digits: Dataset
) -> None:
    images = labelled_images(digits, 3)
    with contextlib.closing(Service(service.url, patience_seconds=5)) as client:
        a, b = client.version("v1"), client.version("v2")
    gone = Service("http://127.0.0.1:9", patience_seconds=0)

    measured = measure_latency(gone, images, a, b).facts

    assert measured["latency"] is None
    assert measured["latency_note"].startswith("not measured: http://127.0.0.1:9 gave")


def test_where_no_image_was_answered_nothing_is_timed(
    service: RunningService, digits: Dataset
) -> None:
    none = labelled_images(digits, 3).only(())
    with contextlib.closing(Service(service.url, patience_seconds=5)) as client:
        a = client.version("v1")

        measured = measure_latency(client, none, a, a).facts

    assert measured["latency"] is None

"""Turns of large and costly images: who waits, who is refused, and who is dropped."""

import base64
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from PIL import Image

from classifier.images.resizing import Resizing
from serving.app import create_app
from serving.config import ServingConfig
from serving.inference.batcher import Overloaded
from serving.inference.decoding import ClientWait, Decoded, Decoder
from serving.inference.requests import DeadlinePassed
from serving.versions.pool import PredictorPool
from tests.classifier.costly_files import repeated_scans
from tests.conftest import WAIT_SECONDS, encoded, picture

SMALL = encoded(picture())
LARGE = encoded(Image.new("RGB", (1001, 1000)), "PNG")
COSTLY = repeated_scans(80, side=900)
"""Under a megapixel, and goes over it 90 times."""

RESIZINGS = {Resizing(8, 8)}


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as workers:
        yield workers


def _decoder(*, most_waiting: int = 8) -> Decoder:
    return Decoder(max_megapixels=25, most_waiting=most_waiting, cores=1)


@contextmanager
def _taken(decoder: Decoder) -> Iterator[None]:
    """While the only turn is another's."""
    assert decoder.turns.acquire(timeout=WAIT_SECONDS)
    try:
        yield
    finally:
        decoder.turns.release()


def _decode(decoder: Decoder, data: bytes, client: ClientWait) -> list[Decoded]:
    return decoder.decode([data], RESIZINGS, client)


def _wait_for(condition: Callable[[], bool]) -> None:
    """A thread that waits for a semaphore says so to nobody."""
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.001)


@pytest.mark.parametrize("data", [LARGE, COSTLY], ids=["large", "costly"])
def test_a_large_or_costly_image_waits_for_its_turn_and_a_small_one_does_not(
    data: bytes,
) -> None:
    decoder = _decoder()

    with _taken(decoder):
        with pytest.raises(DeadlinePassed, match="decoded in time"):
            _decode(decoder, data, ClientWait(time.monotonic() + 0.05))
        (small,) = _decode(decoder, SMALL, ClientWait(math.inf))

    assert isinstance(small, dict)
    assert small[Resizing(8, 8)].shape == (8, 8, 3)
    assert isinstance(_decode(decoder, data, ClientWait(math.inf))[0], dict)


def test_nothing_is_decoded_for_a_client_that_left_while_it_waited(
    workers: ThreadPoolExecutor,
) -> None:
    decoder = _decoder()
    client = ClientWait(math.inf, lambda: True)

    with _taken(decoder):
        waiting = workers.submit(_decode, decoder, LARGE, client)
        _wait_for(lambda: decoder.waiting == 1)

    with pytest.raises(DeadlinePassed, match="closed its connection"):
        waiting.result(WAIT_SECONDS)
    with _taken(decoder):
        assert decoder.waiting == 0


def test_of_large_images_no_more_wait_than_may(workers: ThreadPoolExecutor) -> None:
    decoder = _decoder(most_waiting=1)

    with _taken(decoder):
        first = workers.submit(_decode, decoder, LARGE, ClientWait(math.inf))
        _wait_for(lambda: decoder.waiting == 1)
        with pytest.raises(Overloaded, match="1 large images wait"):
            _decode(decoder, LARGE, ClientWait(math.inf))
        assert isinstance(_decode(decoder, SMALL, ClientWait(math.inf))[0], dict)

    assert isinstance(first.result(WAIT_SECONDS)[0], dict)


def test_who_would_wait_for_long_is_told_when_to_come_again(
    workers: ThreadPoolExecutor,
) -> None:
    """Eight PNGs of 25 megapixels take 10 s of a core."""
    decoder = _decoder(most_waiting=100)
    gone = ClientWait(math.inf, lambda: True)
    largest = encoded(Image.new("L", (5000, 5000)), "PNG")

    with _taken(decoder):
        asked = [workers.submit(_decode, decoder, largest, gone) for _ in range(8)]
        _wait_for(lambda: decoder.waiting == 8)
        with pytest.raises(Overloaded) as refused:
            _decode(decoder, LARGE, ClientWait(math.inf))

    assert refused.value.retry_after_seconds == 11
    assert all(isinstance(a.exception(WAIT_SECONDS), DeadlinePassed) for a in asked)


def test_a_request_whose_time_is_over_decodes_nothing() -> None:
    with pytest.raises(DeadlinePassed):
        _decode(_decoder(), SMALL, ClientWait(time.monotonic()))


def _v2(data: bytes) -> tuple[str, object]:
    text = base64.b64encode(data).decode()
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [text]}
    return "/v2/models/digits-tiny/infer", {"inputs": [tensor]}


def _instances(path: str, data: bytes) -> tuple[str, object]:
    return path, {"instances": [{"b64": base64.b64encode(data).decode()}]}


DIALECTS: dict[str, Callable[[bytes], tuple[str, object]]] = {
    "predict": lambda data: _instances("/predict", data),
    "v2": _v2,
    "invocations": lambda data: _instances("/invocations", data),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_decodes_in_turns_and_within_its_limits(
    dialect: str, pool: PredictorPool
) -> None:
    decoder = _decoder()
    client = create_app(ServingConfig(), pool=pool, decoder=decoder).test_client()
    path, document = DIALECTS[dialect](LARGE)

    with _taken(decoder):
        soon = {"X-Request-Timeout-Ms": "50"}
        late = client.post(path, json=document, headers=soon)
        small_path, small = DIALECTS[dialect](SMALL)
        assert client.post(small_path, json=small).status_code == 200
    assert late.status_code == 504
    assert b"decoded in time" in late.data
    assert client.post(path, json=document).status_code == 200

    path, document = DIALECTS[dialect](repeated_scans(8_000))
    refused = client.post(path, json=document)
    assert refused.status_code == 400
    assert b"101 scans" in refused.data


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_service_refuses_what_is_larger_than_it_was_told(
    dialect: str, pool: PredictorPool
) -> None:
    client = create_app(ServingConfig(max_megapixels=1), pool=pool).test_client()
    path, document = DIALECTS[dialect](LARGE)

    answer = client.post(path, json=document)

    assert answer.status_code == 400
    assert b"the limit is 1 (--max-megapixels)" in answer.data

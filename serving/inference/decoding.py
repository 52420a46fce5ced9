"""Encoded images of requests, decoded within limits of size, time and number."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from classifier.bundle.preprocessing import (
    CheckedImage,
    ImageTooLarge,
    RgbImage,
    UndecodableImage,
    check_image,
    resize,
)
from classifier.hardware import usable_cores
from serving.inference.batcher import overloaded
from serving.inference.request_queue import DeadlinePassed

LARGE_PIXELS = 1_000_000
LARGE_SECONDS = 0.02
"""An image with more of either is decoded only beside as many others as there are
cores: 25 megapixels take 75 to 300 MB meanwhile, and may come as 75 kB."""

LONGEST_WAIT_SECONDS = 10.0
"""Expected before the turn of a large image; beyond it the answer is 429."""

LOOK_SECONDS = 0.05
"""After so much decoding it is looked again whether anybody waits for the answer."""

Size = tuple[int, int]
"""Height and width."""

Decoded = Mapping[Size, RgbImage] | Exception
"""An image at every size that an asked version takes, or why there is none."""

DecodeAll = Callable[[list[bytes], set[Size]], list[Decoded]]


@dataclass(frozen=True)
class ClientWait:
    """How long the client of a request waits for its answer."""

    deadline: float
    """A time of time.monotonic()."""

    has_left: Callable[[], bool] = lambda: False
    """Whether the client has closed its connection."""

    def seconds_left(self) -> float:
        """DeadlinePassed where there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise _late()
        return min(left, threading.TIMEOUT_MAX)


class Decoder:
    """Decodes for all requests of a process; those of large images take turns."""

    def __init__(
        self,
        *,
        max_megapixels: float,
        most_waiting: int,
        cores: int | None = None,
        observe: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """At most `most_waiting` requests wait for a turn; `observe` takes the seconds
        of a request's images."""
        self._max_megapixels = max_megapixels
        self._most_waiting = most_waiting
        self._cores = cores or usable_cores()
        self._observe = observe
        self.turns = threading.Semaphore(self._cores)
        """Turns of large images: as many at once as there are cores."""

        self._changed = threading.Lock()
        self._waiting: list[float] = []
        """Core-seconds of the image that each waiting request asks about."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a turn."""
        return len(self._waiting)

    def decode(
        self, images: list[bytes], sizes: set[Size], client: ClientWait
    ) -> list[Decoded]:
        """Each alone may be undecodable or too large; DeadlinePassed, Overloaded."""
        started = looked = time.perf_counter()
        decoded: list[Decoded] = []
        for data in images:
            client.seconds_left()
            decoded.append(self._decode(data, sizes, client))
            if time.perf_counter() - looked > LOOK_SECONDS:
                looked = time.perf_counter()
                _check_presence(client)
        client.seconds_left()  # else the network is said to be too slow
        self._observe(time.perf_counter() - started)
        return decoded

    def _decode(self, data: bytes, sizes: set[Size], client: ClientWait) -> Decoded:
        """Resized as soon as it is decoded: 256 photos are 19 GB of pixels."""
        try:
            checked = check_image(data, max_megapixels=self._max_megapixels)
            with self._turn(checked, client):
                image = checked.decode()
                return {(h, w): resize(image, height=h, width=w) for h, w in sizes}
        except (UndecodableImage, ImageTooLarge) as error:
            return error

    @contextmanager
    def _turn(self, image: CheckedImage, client: ClientWait) -> Iterator[None]:
        if image.pixels <= LARGE_PIXELS and image.seconds <= LARGE_SECONDS:
            yield
            return
        if not self.turns.acquire(blocking=False):
            self._wait(image, client)
        try:
            yield
        finally:
            self.turns.release()

    def _wait(self, image: CheckedImage, client: ClientWait) -> None:
        """In order of arrival; nothing is decoded for who has left meanwhile."""
        left = client.seconds_left()
        with self._changed:
            wait = sum(self._waiting) / self._cores
            longest = min(left, LONGEST_WAIT_SECONDS)
            if wait > longest or len(self._waiting) >= self._most_waiting:
                raise overloaded(
                    f"{len(self._waiting)} large images wait to be decoded", wait
                )
            self._waiting.append(image.seconds)
        try:
            if not self.turns.acquire(timeout=left):
                raise _late()
        finally:
            with self._changed:
                self._waiting.remove(image.seconds)
        try:
            _check_presence(client)
        except DeadlinePassed:
            self.turns.release()
            raise


def _check_presence(client: ClientWait) -> None:
    if client.has_left():
        raise DeadlinePassed("the client closed its connection before the answer")


def _late() -> DeadlinePassed:
    return DeadlinePassed(
        "the images were not decoded in time; ask again with more time, or about fewer "
        "or smaller images"
    )

"""Decoding of request images within limits of size, time and number."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from classifier.hardware import usable_cores
from classifier.images.decoding import (
    CheckedImage,
    ImageTooLarge,
    RgbImage,
    UndecodableImage,
    check_image,
)
from classifier.images.resizing import Resizing
from serving.inference.batcher import overloaded
from serving.inference.native import NativeThreads
from serving.inference.requests import DeadlinePassed

LARGE_PIXELS = 1_000_000
LARGE_SECONDS = 0.02
"""An image above either limit is large. At most one large image a core is decoded at
a time: 25 megapixels take 75 to 300 MB meanwhile, and may arrive as 75 kB."""

SMALL_PIXELS = 50_000
SMALL_SECONDS = 0.001
"""An image below both limits is decoded where the request is read; others in native
threads, while the event loop goes on."""

LONGEST_WAIT_SECONDS = 10.0
"""Longest expected wait of a large image; beyond it the answer is 429."""

MOST_DECODED = 8
"""Images decoded at once; the large ones among them take turns."""

LOOK_SECONDS = 0.05
"""Seconds of decoding between two checks that the client still waits."""

Decoded = Mapping[Resizing, RgbImage] | Exception
"""An image as all requested versions resize it, or the error of decoding it."""

DecodeAll = Callable[[list[bytes], set[Resizing]], list[Decoded]]


@dataclass(frozen=True)
class ClientWait:
    """How long the client of a request waits."""

    deadline: float
    """A time of time.monotonic()."""

    has_left: Callable[[], bool] = lambda: False
    """Whether the client has closed its connection."""

    def seconds_left(self) -> float:
        """Raises DeadlinePassed if the deadline has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise _late()
        return min(left, threading.TIMEOUT_MAX)


class Decoder:
    """Decodes the images of all requests of a process; large images take turns."""

    def __init__(
        self,
        *,
        max_megapixels: float,
        most_waiting: int,
        cores: int | None = None,
        observe: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """At most `most_waiting` requests wait for a turn. `observe` gets the seconds
        that the images of a request took."""
        self._max_megapixels = max_megapixels
        self._most_waiting = most_waiting
        self._cores = cores or usable_cores()
        self._observe = observe
        self._threads = NativeThreads(MOST_DECODED)
        self.turns = threading.Semaphore(self._cores)
        """Turns of large images, one a core."""

        self._changed = threading.Lock()
        self._waiting: list[float] = []
        """Estimated core-seconds of each image that waits for a turn."""

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a turn."""
        return len(self._waiting)

    def decode(
        self, images: list[bytes], resizings: set[Resizing], client: ClientWait
    ) -> list[Decoded]:
        """One entry an image; an error if it is undecodable or too large.

        Raises DeadlinePassed or Overloaded.
        """
        started = looked = time.perf_counter()
        decoded: list[Decoded] = []
        for data in images:
            client.seconds_left()
            decoded.append(self._decode(data, resizings, client))
            if time.perf_counter() - looked > LOOK_SECONDS:
                looked = time.perf_counter()
                _check_presence(client)
        client.seconds_left()  # else the error would blame the network
        self._observe(time.perf_counter() - started)
        return decoded

    def _decode(
        self, data: bytes, resizings: set[Resizing], client: ClientWait
    ) -> Decoded:
        try:
            checked = check_image(data, max_megapixels=self._max_megapixels)
            if checked.pixels <= SMALL_PIXELS and checked.seconds <= SMALL_SECONDS:
                return _decode(checked, resizings)
            with self._turn(checked, client):
                return self._threads.run(_decode, checked, resizings)
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
        """Waits in order of arrival. Raises DeadlinePassed if the client has left."""
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


def _decode(
    image: CheckedImage, resizings: set[Resizing]
) -> Mapping[Resizing, RgbImage]:
    """Resizes at once after decoding: 256 photos are 19 GB of pixels."""
    decoded = image.decode()
    return {resizing: resizing(decoded) for resizing in resizings}


def _check_presence(client: ClientWait) -> None:
    if client.has_left():
        raise DeadlinePassed("the client closed its connection before the answer")


def _late() -> DeadlinePassed:
    return DeadlinePassed(
        "the images were not decoded in time; ask again with more time, or about fewer "
        "or smaller images"
    )

"""Requests that wait for the network, and how they are cut into batches."""

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
"""Shape [N, H, W, 3]."""


class DeadlinePassed(TimeoutError):
    """The request was not answered in the time it had."""


@dataclass(frozen=True)
class Inference:
    """Logits of a request's images, and the images that failed."""

    logits: NDArray[np.float32]
    """Shape [N, K]."""

    failures: Mapping[int, Exception]
    """Errors by the image's place. The logits of that row mean nothing."""


@dataclass(eq=False)
class Request:
    images: Images
    deadline: float = math.inf
    """A time of time.monotonic()."""

    arrived: float = field(default_factory=time.monotonic)
    answer: "Future[Inference]" = field(default_factory=Future)
    taken: int = 0
    """Number of images that batches have taken; the others wait."""

    _pieces: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    """Logits by the place of the piece's first image; pieces end in any order."""

    _failures: dict[int, Exception] = field(default_factory=dict)
    _changed: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, now: float) -> bool:
        """Marks the request as running.

        Returns False if the caller cancelled it or the deadline has passed; in the
        second case the future holds DeadlinePassed.
        """
        if not self.answer.set_running_or_notify_cancel():
            return False
        if now < self.deadline:
            return True
        self.answer.set_exception(
            DeadlinePassed(
                f"it waited {now - self.arrived:.1f} s for the network and was not "
                f"begun; ask again with more time, or fewer images"
            )
        )
        return False

    @property
    def is_open(self) -> bool:
        """False if a batch with a part of the request has failed."""
        return not self.answer.done()

    def take(
        self,
        start: int,
        logits: NDArray[np.float32],
        failures: Mapping[int, Exception],
    ) -> None:
        """Takes the logits of the images from `start` on, and sets the result if none
        is missing.

        `failures` are by place in `logits`. A failed request ignores them.
        """
        with self._changed:
            if self.answer.done():
                return
            self._pieces[start] = logits
            self._failures |= {start + row: error for row, error in failures.items()}
            if sum(map(len, self._pieces.values())) < len(self.images):
                return
            in_order = [self._pieces[place] for place in sorted(self._pieces)]
            whole = in_order[0] if len(in_order) == 1 else np.concatenate(in_order)
            self.answer.set_result(Inference(whole, self._failures))

    def fail(self, error: Exception) -> None:
        """Fails the whole request. Does nothing if it has its result."""
        with self._changed:
            if not self.answer.done():
                self.answer.set_exception(error)


@dataclass(frozen=True)
class Piece:
    """The images of one request that are in one batch."""

    request: Request
    start: int
    stop: int

    @property
    def images(self) -> Images:
        return self.request.images[self.start : self.stop]

    def __len__(self) -> int:
        return self.stop - self.start


class RequestQueue:
    """Requests in order of arrival. The caller holds the lock."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self.images = 0
        """Number of images that wait."""

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def first(self) -> Request:
        return self._requests[0]

    def append(self, request: Request) -> None:
        self._requests.append(request)
        self.images += len(request.images)

    def cut(self, room: int) -> list[Piece]:
        """Takes the next batch of at most `room` images. May be empty."""
        pieces: list[Piece] = []
        now = time.monotonic()
        while self._requests and room:
            request = self._requests[0]
            count = len(request.images)
            if not (request.begin(now) if request.taken == 0 else request.is_open):
                stop = count
            else:
                stop = min(count, request.taken + room)
                pieces.append(Piece(request, request.taken, stop))
                room -= stop - request.taken
            self.images -= stop - request.taken
            request.taken = stop
            if stop == count:
                self._requests.popleft()
        return pieces

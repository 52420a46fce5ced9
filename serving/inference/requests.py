"""Requests for the network: images that wait, and the rows that answer them."""

import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.inference.predict import Likeliest, likeliest
from serving.inference.native import LoopFuture, new_future

Images = NDArray[np.uint8]
"""Shape [N, H, W, 3]."""

Logits = NDArray[np.float32]
"""Shape [N, K]."""

RANKED = 5
"""Likeliest classes found for a whole batch; for more a request has its own search."""


class DeadlinePassed(TimeoutError):
    """The request was not answered in the time it had."""


class Rows(NamedTuple):
    """Logits and likeliest classes of the images of a batch."""

    logits: Logits
    classes: NDArray[np.int64]
    """The RANKED likeliest of each image, and their probabilities: for a batch these
    cost little more than for one image."""

    probabilities: NDArray[np.float64]

    def part(self, first: int, last: int) -> "Rows":
        logits, classes, probabilities = self
        place = slice(first, last)
        return Rows(logits[place], classes[place], probabilities[place])


def rows_of(logits: Logits) -> Rows:
    return Rows(logits, *likeliest(logits, RANKED))


@dataclass
class Inference:
    """Logits of a request's images, and the images that failed."""

    logits: Logits
    failures: Mapping[int, Exception]
    """Errors by the image's place. The logits of that row are 0."""

    likeliest: Likeliest | None = None
    """The RANKED likeliest classes; None if they are not known yet."""


@dataclass(eq=False)
class Request:
    """Images that wait for the network; the batcher's lock guards it."""

    images: Images
    deadline: float
    """A time of time.monotonic()."""

    arrived: float = field(default_factory=time.monotonic)
    answer: "LoopFuture[Inference] | Future[Inference]" = field(
        default_factory=new_future
    )
    taken: int = 0
    """Number of images that batches have taken; the others wait."""

    is_cancelled: bool = False
    """Nobody waits for the answer any more."""

    _pieces: dict[int, Rows] = field(default_factory=dict)
    """Rows by the place of the piece's first image; pieces end in any order."""

    _failures: dict[int, Exception] = field(default_factory=dict)

    def result(self, timeout: float | None = None) -> Inference:
        """Raises TimeoutError if there is no answer after `timeout` seconds."""
        return self.answer.result(timeout)

    def cancel(self) -> None:
        """Spares the network what it has not begun."""
        self.is_cancelled = True

    def begins_or_continues(self, now: float) -> bool:
        """Whether a batch may take images of it.

        False if the caller cancelled it, the deadline has passed (the answer then is
        DeadlinePassed), or a batch with a part of it has failed.
        """
        if self.is_cancelled or self.answer.done():
            return False
        if self.taken > 0 or now < self.deadline:
            return True
        self.answer.set_exception(
            DeadlinePassed(
                f"it waited {now - self.arrived:.1f} s for the network and was not "
                f"begun; ask again with more time, or fewer images"
            )
        )
        return False

    def take(self, start: int, rows: Rows, failures: Mapping[int, Exception]) -> None:
        """Takes the rows of the images from `start` on, and their failures.

        The failures are by place among these images.

        Sets the result if no image is missing. A failed request ignores them.
        """
        if self.answer.done():
            return
        self._pieces[start] = rows
        self._failures |= {start + place: e for place, e in failures.items()}
        if sum(len(part.logits) for part in self._pieces.values()) == len(self.images):
            if len(self._pieces) > 1:
                parts = [self._pieces[start] for start in sorted(self._pieces)]
                rows = Rows(*map(np.concatenate, zip(*parts, strict=True)))
            found = Likeliest(rows.classes, rows.probabilities)
            self.answer.set_result(Inference(rows.logits, self._failures, found))

    def fail(self, error: Exception) -> None:
        """Fails the whole request. Does nothing if it has its result."""
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(frozen=True)
class Piece:
    """The images of one request that are in one batch."""

    request: Request
    start: int
    images: Images


class RequestQueue:
    """Requests in order of arrival. The caller holds the lock."""

    def __init__(self, *requests: Request) -> None:
        self._requests = deque(requests)
        self.images = sum(len(request.images) for request in requests)
        """Number of images that wait."""

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def first(self) -> Request:
        return self._requests[0]

    def append(self, request: Request) -> None:
        self._requests.append(request)
        self.images += len(request.images)

    def next_batch(self, room: int) -> list[Piece]:
        """Takes the next batch, of at most `room` images. It may be empty."""
        pieces: list[Piece] = []
        now = time.monotonic()
        while self._requests and room:
            request, start = self.first, self.first.taken
            images = request.images[start:]
            if request.begins_or_continues(now):
                images = images[:room]
                pieces.append(Piece(request, start, images))
                room -= len(images)
            self.images -= len(images)
            request.taken += len(images)
            if request.taken == len(request.images):
                self._requests.popleft()
        return pieces


def count_images(pieces: list[Piece]) -> int:
    return sum(len(piece.images) for piece in pieces)


def answer_all(
    pieces: list[Piece], rows: Rows, failures: Mapping[int, Exception]
) -> None:
    first = 0
    for piece in pieces:
        last = first + len(piece.images)
        own = {k - first: e for k, e in failures.items() if first <= k < last}
        piece.request.take(piece.start, rows.part(first, last), own)
        first = last


def fail_all(pieces: list[Piece], failure: Exception) -> None:
    for piece in pieces:
        piece.request.fail(failure)

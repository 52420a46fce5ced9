"""Micro-batching: requests are gathered, run as one batch, and answered singly."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from classifier.inference.predict import logits_or_failures

logger = logging.getLogger(__name__)

Images = NDArray[np.uint8]
"""Shape [N, H, W, 3]."""

Logits = NDArray[np.float32]
"""Shape [N, K]."""

LONGEST_RETRY_AFTER_SECONDS = 60

BATCHES_REMEMBERED = 10
"""The rate of images is averaged over about so many batches."""


class DeadlinePassed(TimeoutError):
    """The request was not answered in the time it had."""


class Overloaded(RuntimeError):
    """The queue is full."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """Estimate of when there is room again."""


def overloaded(what: str, seconds_to_wait: float) -> Overloaded:
    seconds = max(1, min(math.ceil(seconds_to_wait), LONGEST_RETRY_AFTER_SECONDS))
    return Overloaded(f"{what}; try again in {seconds} s", retry_after_seconds=seconds)


class BatchFailed(RuntimeError):
    """An unexpected error while a batch was run or split into answers."""


@dataclass(frozen=True)
class Inference:
    """Logits of a request's images, and the images that failed."""

    logits: Logits
    failures: Mapping[int, Exception]
    """Errors by the image's place. The logits of that row are 0."""


@dataclass(eq=False)
class Request:
    images: Images
    deadline: float
    """A time of time.monotonic()."""

    arrived: float = field(default_factory=time.monotonic)
    answer: "Future[Inference]" = field(default_factory=Future)
    taken: int = 0
    """Number of images that batches have taken; the others wait."""

    _pieces: dict[int, Logits] = field(default_factory=dict)
    """Logits by the place of the piece's first image; pieces end in any order."""

    _failures: dict[int, Exception] = field(default_factory=dict)
    _changed: threading.Lock = field(default_factory=threading.Lock)

    def begins_or_continues(self, now: float) -> bool:
        """Marks the request as running; called before a batch takes images of it.

        Returns False if the caller cancelled it, the deadline has passed (the future
        then holds DeadlinePassed), or a batch with a part of it has failed.
        """
        if self.taken > 0:
            return not self.answer.done()
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

    def take(
        self, start: int, logits: Logits, failures: Mapping[int, Exception]
    ) -> None:
        """Takes the logits of the images from `start` on, and their failures.

        The failures are by place among these images.

        Sets the result if no image is missing. A failed request ignores them.
        """
        with self._changed:
            if self.answer.done():
                return
            self._pieces[start] = logits
            self._failures |= {start + place: e for place, e in failures.items()}
            if sum(map(len, self._pieces.values())) == len(self.images):
                whole = np.concatenate(
                    [rows for _, rows in sorted(self._pieces.items())]
                )
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


@dataclass(frozen=True, kw_only=True)
class BatchMetrics:
    """Functions that are called with the measurements of each finished batch."""

    images: Callable[[float], object]
    queue_seconds: Callable[[float], object]
    """From arrival to start, for each request that the batch began."""

    inference_seconds: Callable[[float], object]
    still_queued: Callable[[float], object]
    """Images that waited when the batch was done."""


class RunningBatches:
    """The number of batches that run now, over all versions of a process."""

    def __init__(self, cores: int) -> None:
        """A batch that runs alone may use all `cores`; several use one each."""
        self.cores = cores
        self._changed = threading.Lock()
        self._count = 0

    @contextmanager
    def batch(self) -> Iterator[bool]:
        """Counts one batch; yields whether no other ran when it began."""
        with self._changed:
            self._count += 1
            is_alone = self._count == 1
        try:
            yield is_alone
        finally:
            with self._changed:
                self._count -= 1


class MicroBatcher:
    """Threads that take waiting images in order of arrival and run them as one batch.

    Batches count images: a large request is cut, small requests share a batch. A batch
    that fails is run again image by image, so that only the bad image fails. Any other
    error fails the requests of its batch, and the thread goes on. With `on_one_core`,
    as many batches run at once as there are cores.
    """

    def __init__(
        self,
        logits: Callable[[Images], Logits],
        *,
        name: str,
        on_one_core: Callable[[Images], Logits] | None = None,
        running: RunningBatches | None = None,
        classes: int,
        max_batch_size: int,
        max_wait_ms: float = 0.0,
        max_queued: int = 512,
        metrics: BatchMetrics | None = None,
    ) -> None:
        """`on_one_core` gives the same logits and is used while other batches run;
        `running` counts those of all versions."""
        self._logits = logits
        self._on_one_core = on_one_core or logits
        self._classes = classes
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_ms / 1000
        self._max_queued = max_queued
        self._metrics = metrics
        self._queue = RequestQueue()
        self._images_per_second = 0.0
        self._is_closed = False
        self._changed = threading.Condition()
        self._gathering = threading.Lock()
        self._running = running or RunningBatches(1)
        threads = self._running.cores if on_one_core else 1
        self._free = threads  # of batches that may run at once
        self._threads = [
            threading.Thread(target=self._run, name=thread_name, daemon=True)
            for thread_name in (name, *(f"{name}.{n}" for n in range(2, threads + 1)))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Number of images that wait."""
        return self._queue.images

    @property
    def seconds_to_wait(self) -> float:
        """Estimated seconds for the queued images, at the rate of the last batches."""
        return self._queue.images / max(self._images_per_second, 1.0)

    def submit(
        self, images: Images, *, deadline: float = math.inf, run_here: bool = False
    ) -> "Future[Inference]":
        """The logits of `images` [N, H, W, 3].

        The future holds DeadlinePassed if the run did not begin by `deadline`, a time
        of time.monotonic(). Raises Overloaded if too many images wait; an empty queue
        takes any request. With `run_here` the caller's thread runs a request that no
        other can share a batch with.
        """
        request = Request(images, deadline)
        if len(images) == 0:
            request.take(0, np.empty((0, self._classes), np.float32), {})
            return request.answer
        with self._changed:
            waiting = self._queue.images
            if waiting and waiting + len(images) > self._max_queued:
                raise overloaded(
                    f"{waiting} images wait for the network and {self._max_queued} may",
                    self.seconds_to_wait,
                )
            # A request may hold a batcher that was closed, whose threads have ended.
            run_here = self._is_closed or (run_here and self._is_lone(request))
            if run_here:
                self._free -= 1
            else:
                self._queue.append(request)
                self._changed.notify()
        if run_here:
            own_queue = RequestQueue(request)
            try:
                while own_queue:
                    self._answer(own_queue.next_batch(self._max_batch_size))
            finally:
                self._done()
        return request.answer

    def _is_lone(self, request: Request) -> bool:
        """Whether the request fits one batch that no other request can join."""
        is_one_batch = len(request.images) <= self._max_batch_size
        may_be_joined = self._queue or self._max_wait_s > 0
        return is_one_batch and not may_be_joined and self._free > 0

    def close(self) -> None:
        """Blocks until pending requests are answered; later ones are answered too."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        for thread in self._threads:
            thread.join()
        with self._changed:
            self._changed.wait_for(lambda: self._free == len(self._threads))

    def _run(self) -> None:
        while True:
            with self._gathering, self._changed:
                self._changed.wait_for(
                    lambda: (self._queue and self._free > 0) or self._is_closed
                )
                if not self._queue:
                    return
                self._wait_for_others()
                pieces = self._queue.next_batch(self._max_batch_size)
                self._free -= 1
            self._answer(pieces)
            self._done()

    def _done(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify()

    def _wait_for_others(self) -> None:
        """Waits until a batch is full or its first image has waited `max_wait_ms`."""
        until = self._queue.first.arrived + self._max_wait_s
        while self._queue.images < self._max_batch_size and not self._is_closed:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _answer(self, pieces: list[Piece]) -> None:
        """Never raises: if the thread ended, later requests would wait for ever while
        the version is reported as ready."""
        if not pieces:
            return
        try:
            self._run_batch(pieces)
        except BaseException as error:
            for piece in pieces:
                failure = BatchFailed(f"a batch failed: {error!r}")
                failure.__cause__ = error
                piece.request.fail(failure)
            logger.exception("a batch failed requests=%d", len(pieces))

    def _run_batch(self, pieces: list[Piece]) -> None:
        """Runs the network and sets the results of the requests."""
        started = time.monotonic()
        parts = [piece.images for piece in pieces]
        images = parts[0] if len(parts) == 1 else np.concatenate(parts)
        with self._running.batch() as is_alone:
            network = self._logits if is_alone else self._on_one_core
            logits, failures = logits_or_failures(
                network, images, classes=self._classes
            )
        seconds = time.monotonic() - started
        with self._changed:
            at_once = max(1, len(self._threads) - self._free)
            self._remember(at_once * len(images) / max(seconds, 1e-6))
        first = 0
        for piece in pieces:
            last = first + len(piece.images)
            own = {k - first: e for k, e in failures.items() if first <= k < last}
            piece.request.take(piece.start, logits[first:last], own)
            first = last
        if self._metrics is not None:
            self._measure(self._metrics, pieces, started=started, seconds=seconds)

    def _measure(
        self,
        metrics: BatchMetrics,
        pieces: list[Piece],
        *,
        started: float,
        seconds: float,
    ) -> None:
        try:
            for piece in pieces:
                if piece.start == 0:
                    metrics.queue_seconds(started - piece.request.arrived)
            metrics.inference_seconds(seconds)
            metrics.images(sum(len(piece.images) for piece in pieces))
            metrics.still_queued(self._queue.images)
        except BaseException:
            logger.exception("a batch was not measured requests=%d", len(pieces))

    def _remember(self, images_per_second: float) -> None:
        is_first = self._images_per_second == 0
        share = 1.0 if is_first else 1 / BATCHES_REMEMBERED
        self._images_per_second += share * (images_per_second - self._images_per_second)

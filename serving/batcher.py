"""Single requests in, batches through the network, single answers out."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from serving.request_queue import Answer, Images, Piece, Request, RequestQueue

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]
"""Shape [N, K]."""

PAUSE_SECONDS, MOST_PAUSES = 0.003, 10
"""A request takes 1 ms from its answer to the next one's place in the queue."""

LONGEST_RETRY_AFTER_SECONDS = 60

BATCHES_REMEMBERED = 10
"""Over about so many the rate is averaged."""


class Overloaded(RuntimeError):
    """The queue is full."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """When there should be room."""


def overloaded(what: str, seconds_to_wait: float) -> Overloaded:
    seconds = max(1, min(math.ceil(seconds_to_wait), LONGEST_RETRY_AFTER_SECONDS))
    return Overloaded(f"{what}; try again in {seconds} s", retry_after_seconds=seconds)


class NotFinite(ArithmeticError):
    """The network's answer about an image is no number."""


@dataclass(frozen=True)
class BatchDone:
    """What a batch took, for whoever measures."""

    images: int
    queue_seconds: Sequence[float]
    """Of each request that it began, from its arrival on."""

    inference_seconds: float
    still_queued: int
    """Images that waited when it was done."""


class MicroBatcher:
    """One thread takes what is waiting, in order of arrival, and runs it as one batch.

    It counts images, not requests: a large request is cut, small ones share a batch. A
    batch that fails is tried again image by image, so that one fails alone.
    """

    def __init__(
        self,
        logits: Callable[[Images], Logits],
        *,
        name: str,
        classes: int,
        max_batch_size: int,
        max_wait_ms: float = 0.0,
        max_queued: int = 512,
        observe: Callable[[BatchDone], None] = lambda batch: None,
    ) -> None:
        self._logits = logits
        self._classes = classes
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_ms / 1000
        self._max_queued = max_queued
        self._observe = observe
        self._queue = RequestQueue()
        self._images_per_second = 0.0
        self._last_batch = 0  # images
        self._enough = 1  # images in the queue that the thread wants to hear of
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Images that wait."""
        return self._queue.images

    @property
    def seconds_to_wait(self) -> float:
        """What is queued takes about so long, at the rate of the last batches."""
        return self._queue.images / max(self._images_per_second, 1.0)

    def submit(self, images: Images, *, deadline: float = math.inf) -> "Future[Answer]":
        """What the network says about images [N, H, W, 3], N from 1.

        DeadlinePassed if it was not begun by `deadline`, of time.monotonic(). Raises
        Overloaded if too many wait; a request that finds none waiting is always taken.
        """
        request = Request(images, deadline)
        with self._changed:
            waiting = self._queue.images
            if waiting and waiting + len(images) > self._max_queued:
                raise self._overloaded(waiting)
            if not self._is_closed:
                self._queue.append(request)
                if self._queue.images >= self._enough:
                    self._changed.notify()
                return request.answer
        # It was found before it was closed, and the thread is gone.
        own_queue = RequestQueue()
        own_queue.append(request)
        while own_queue:
            self._answer(own_queue.cut(self._max_batch_size))
        return request.answer

    def close(self) -> None:
        """Returns when what waits is answered; what comes later is answered as well."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> "MicroBatcher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _overloaded(self, waiting: int) -> Overloaded:
        return overloaded(
            f"{waiting} images wait for the network and {self._max_queued} may",
            self.seconds_to_wait,
        )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                if not self._queue:
                    return
                self._wait_for_company()
                self._wait_for_those_who_come_back()
                pieces = self._queue.cut(self._max_batch_size)
            self._answer(pieces)

    def _wait_for_company(self) -> None:
        """Until a batch is full, or its first image has waited as long as it may."""
        until = self._queue.first.arrived + self._max_wait_s
        while self._queue.images < self._max_batch_size and not self._is_closed:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _wait_for_those_who_come_back(self) -> None:
        """After a batch of several, where several wait again: while more keep coming.

        Who was answered in one batch asks again at about the same time. Taken at once,
        clients fall into two halves that are answered in turn, and batches are half as
        large as they could be. A lone request does not wait.
        """
        expected = min(self._last_batch + self._queue.images, self._max_batch_size)
        if self._last_batch < 2 or self._queue.images < 2:
            return
        self._enough = expected
        for _ in range(MOST_PAUSES):
            before = self._queue.images
            if before >= expected or self._is_closed:
                break
            self._changed.wait(PAUSE_SECONDS)
            if self._queue.images == before:
                break
        self._enough = 1

    def _answer(self, pieces: list[Piece]) -> None:
        if not pieces:
            return
        started = time.monotonic()
        parts = [piece.images for piece in pieces]
        images = parts[0] if len(parts) == 1 else np.concatenate(parts)
        logits, failures = self._run_network(images)
        seconds = time.monotonic() - started
        self._last_batch = len(images)
        self._remember(len(images) / max(seconds, 1e-6))
        first = 0
        for piece in pieces:
            last = first + len(piece)
            own = {k - first: e for k, e in failures.items() if first <= k < last}
            piece.request.take(logits[first:last], own)
            first = last
        waits = [started - p.request.arrived for p in pieces if p.start == 0]
        self._observe(BatchDone(len(images), waits, seconds, self._queue.images))

    def _remember(self, images_per_second: float) -> None:
        is_first = self._images_per_second == 0
        share = 1.0 if is_first else 1 / BATCHES_REMEMBERED
        self._images_per_second += share * (images_per_second - self._images_per_second)

    def _run_network(self, images: Images) -> tuple[Logits, dict[int, Exception]]:
        """Logits, and by place what failed, whatever it was: the thread must go on."""
        try:
            logits = self._logits(images)
        except Exception as error:
            if len(images) == 1:
                logger.exception("the network failed about an image")
                return np.full((1, self._classes), np.nan, np.float32), {0: error}
            logger.warning("a batch failed images=%d reason=%s", len(images), error)
            return self._one_by_one(images)
        not_finite = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        failure = NotFinite("the network's answer about the image is no number")
        return logits, {int(place): failure for place in not_finite}

    def _one_by_one(self, images: Images) -> tuple[Logits, dict[int, Exception]]:
        rows: list[Logits] = []
        failures: dict[int, Exception] = {}
        for place in range(len(images)):
            logits, failed = self._run_network(images[place : place + 1])
            rows.append(logits)
            if failed:
                failures[place] = failed[0]
        return np.concatenate(rows), failures

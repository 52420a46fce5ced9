"""Micro-batching: requests are gathered, run as one batch, and answered singly."""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, MutableSequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from classifier.inference.predict import logits_or_failures
from serving.inference.native import (
    LoopFuture,
    NativeThreads,
    is_patched,
    new_future,
    new_lock,
    start,
    wait_until_idle,
)
from serving.inference.requests import (
    Images,
    Logits,
    Piece,
    Request,
    RequestQueue,
    Rows,
    answer_all,
    count_images,
    fail_all,
    rows_of,
)

logger = logging.getLogger(__name__)

LONGEST_RETRY_AFTER_SECONDS = 60

BATCHES_REMEMBERED = 10
"""The rate of images is averaged over about so many batches."""

MOST_IDLE_SECONDS = 0.005
"""How long a batch waits at most until the event loop has nothing else to do."""


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
    """The number of batches that run now, over all versions and processes."""

    def __init__(
        self,
        cores: int,
        *,
        processes: int = 1,
        counts: MutableSequence[int] | None = None,
        own: int = 0,
    ) -> None:
        """A batch that runs alone may use all `cores`; several use one each.

        `counts` has the batches of each process, and `own` is the place of this one.
        """
        self.cores = cores
        self.at_once = max(1, cores // processes)
        """Batches that a version may run at once in this process."""

        self._counts = [0] if counts is None else counts
        self._own = own
        self._changed = new_lock()

    def begin(self) -> bool:
        """Counts one batch more; returns whether no other runs."""
        with self._changed:
            self._counts[self._own] += 1
            return sum(self._counts) == 1

    def end(self) -> None:
        with self._changed:
            self._counts[self._own] -= 1


class _Run(NamedTuple):
    """One run of the network on a batch."""

    rows: Rows
    failures: Mapping[int, Exception]
    started: float
    """A time of time.monotonic()."""

    seconds: float


class MicroBatcher:
    """Waiting images in order of arrival, run as batches in native threads.

    Batches count images: a large request is cut, small requests share a batch. A batch
    is begun when the event loop has nothing else to do: a lone request then waits for
    nothing, and requests that arrive together share a batch. A batch that fails is run
    again image by image, so that only the bad image fails; any other error fails the
    requests of its batch. With `on_one_core`, as many batches run at once as there are
    cores, and on an event loop one more waits in front of the native threads.
    """

    def __init__(
        self,
        logits: Callable[[Images], Logits],
        *,
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
        self._running = running or RunningBatches(1)
        self._at_once = self._running.at_once if on_one_core else 1
        # One waits for a native thread, else a core whose batch ends waits until the
        # loop has come to it: 8 % of the requests at 64 connections.
        self._places = self._at_once + (self._at_once > 1 and is_patched())
        self._free = self._places
        self._running_images = 0
        self._is_beginning = False
        self._is_closed = False
        self._is_full = threading.Event()
        self._ended: list[LoopFuture[None] | Future[None]] = []
        self._lock = new_lock()
        self._threads = NativeThreads(self._at_once)

    @property
    def queued(self) -> int:
        """Number of images that wait."""
        return self._queue.images

    @property
    def is_busy(self) -> bool:
        """Whether images wait, or a batch runs."""
        return bool(self._queue) or self._free < self._places

    @property
    def seconds_to_wait(self) -> float:
        """Estimated seconds for the queued images, at the rate of the last batches."""
        return self._queue.images / max(self._images_per_second, 1.0)

    def submit(self, images: Images, *, deadline: float = math.inf) -> Request:
        """The request for the logits of `images` [N, H, W, 3].

        Its result is DeadlinePassed if its run did not begin by `deadline`, a time of
        time.monotonic(). Raises Overloaded if too many images wait; an empty queue
        takes any request.
        """
        request = Request(images, deadline)
        if len(images) == 0:
            request.take(0, rows_of(np.empty((0, self._classes), np.float32)), {})
            return request
        with self._lock:
            waiting = self._queue.images
            if waiting and waiting + len(images) > self._max_queued:
                raise overloaded(
                    f"{waiting} images wait for the network and {self._max_queued} may",
                    self.seconds_to_wait,
                )
            self._queue.append(request)
            self._note_if_full()
            must_begin = self._must_begin()
        if must_begin:
            start(self._begin)
        return request

    def close(self) -> None:
        """Blocks until pending requests are answered; later ones are answered too."""
        ended: LoopFuture[None] | Future[None] = new_future()
        with self._lock:
            self._is_closed = True
            self._note_if_full()
            if self.is_busy:
                self._ended.append(ended)
            else:
                ended.set_result(None)
        ended.result()
        self._threads.close()

    def _must_begin(self) -> bool:
        """Whether somebody must call `_begin`. The caller holds the lock."""
        must = bool(self._queue) and self._free > 0 and not self._is_beginning
        self._is_beginning |= must
        return must

    def _begin(self) -> None:
        """Begins as many batches as may run."""
        try:
            wait_until_idle(MOST_IDLE_SECONDS)
            self._wait_for_others()
        finally:  # else no batch would ever begin again
            with self._lock:
                self._is_beginning = False
                batches = self._next_batches()
                is_over = self._is_over()
            self._start(batches, is_over=is_over)

    def _next_batches(self) -> list[list[Piece]]:
        """The batches to be begun. The caller holds the lock."""
        batches: list[list[Piece]] = []
        while self._queue and self._free > 0:
            # Empty if nobody waits any more for what waited.
            if pieces := self._queue.next_batch(self._room()):
                batches.append(pieces)
                self._free -= 1
                self._running_images += count_images(pieces)
        return batches

    def _room(self) -> int:
        """The size of the next batch.

        Of three batches on two cores, one waits and begins when another ends. A request
        is not cut for that.
        """
        images = self._queue.images + self._running_images
        share = math.ceil(images / (self._at_once + 1)) if self._at_once > 1 else images
        first = len(self._queue.first.images) - self._queue.first.taken
        return min(self._max_batch_size, max(first, share))

    def _start(self, batches: list[list[Piece]], *, is_over: bool) -> None:
        for pieces in batches:
            start(partial(self._run, pieces))
        while is_over and self._ended:
            self._ended.pop().set_result(None)

    def _wait_for_others(self) -> None:
        """Waits until a batch is full or its first image has waited `max_wait_ms`."""
        if self._max_wait_s == 0:
            return
        with self._lock:
            if not self._queue:  # a batch that ended has taken what waited
                return
            self._is_full.clear()
            left = self._queue.first.arrived + self._max_wait_s - time.monotonic()
            self._note_if_full()
        self._is_full.wait(max(0.0, left))

    def _note_if_full(self) -> None:
        """The caller holds the lock."""
        if self._queue.images >= self._max_batch_size or self._is_closed:
            self._is_full.set()

    def _run(self, pieces: list[Piece]) -> None:
        run: _Run | None = None
        failure: BatchFailed | None = None
        try:
            run = self._infer(pieces)
        except BaseException as error:
            logger.exception("a batch failed requests=%d", len(pieces))
            failure = BatchFailed(f"a batch failed: {error!r}")
            failure.__cause__ = error
        with self._lock:
            at_once = max(1, min(self._at_once, self._places - self._free))
            self._free += 1
            self._running_images -= count_images(pieces)
            if run is not None:
                self._remember(at_once * count_images(pieces) / max(run.seconds, 1e-6))
            elif failure is not None:
                # Before the next batch, which may hold another part of a request.
                fail_all(pieces, failure)
            batches = self._next_batches()
            is_over = self._is_over()
        # Before those who wait for this batch are woken: else its core waits for them.
        self._start(batches, is_over=is_over)
        if run is not None:
            self._measure(pieces, run)
            with self._lock:
                answer_all(pieces, run.rows, run.failures)

    def _is_over(self) -> bool:
        return self._is_closed and not self.is_busy and not self._is_beginning

    def _infer(self, pieces: list[Piece]) -> _Run:
        parts = [piece.images for piece in pieces]
        images = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return self._threads.run(self._run_network, images)

    def _run_network(self, images: Images) -> _Run:
        started = time.monotonic()
        is_alone = self._running.begin()
        try:
            network = self._logits if is_alone else self._on_one_core
            logits, failed = logits_or_failures(network, images, classes=self._classes)
            rows = rows_of(logits)
        finally:
            self._running.end()
        return _Run(rows, failed, started, time.monotonic() - started)

    def _measure(self, pieces: list[Piece], run: _Run) -> None:
        if self._metrics is None:
            return
        try:
            for piece in pieces:
                if piece.start == 0:
                    self._metrics.queue_seconds(run.started - piece.request.arrived)
            self._metrics.inference_seconds(run.seconds)
            self._metrics.images(count_images(pieces))
            self._metrics.still_queued(self._queue.images)
        except BaseException:
            logger.exception("a batch was not measured requests=%d", len(pieces))

    def _remember(self, images_per_second: float) -> None:
        is_first = self._images_per_second == 0
        share = 1.0 if is_first else 1 / BATCHES_REMEMBERED
        self._images_per_second += share * (images_per_second - self._images_per_second)

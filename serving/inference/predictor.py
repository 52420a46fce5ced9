"""One version, ready to answer."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.bundle.files import Bundle
from classifier.inference.backends.base import Backend, RunNetwork
from classifier.metrics import softmax, top_k
from classifier.store.versions import Version
from serving.inference.batcher import BatchDone, Cores, MicroBatcher
from serving.inference.request_queue import Answer, Images

logger = logging.getLogger(__name__)


class FailedCheck(RuntimeError):
    """A version that loads but does not answer as its files say it should."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One of the likeliest classes."""

    index: int
    id: str
    name: str
    probability: float
    """0..1, to seven digits: a float32 holds no more."""


@dataclass(frozen=True)
class Batching:
    """How requests share the network; see ServingConfig."""

    max_batch_size: int = 32
    max_wait_ms: float = 0.0
    max_queued: int = 512


class Predictor:
    """A version's files, and the thread that runs its network on what is asked."""

    def __init__(
        self,
        version: Version,
        bundle: Bundle,
        backend: Backend,
        batching: Batching,
        *,
        cores: Cores | None = None,
        observe: Callable[[BatchDone], None] = lambda batch: None,
    ) -> None:
        """Runs the network before anyone asks; FailedCheck."""
        self.version = version
        self.bundle = bundle
        self.backend = backend
        warm_up(bundle, backend, largest=batching.max_batch_size)
        self._batcher = MicroBatcher(
            backend.logits,
            name=f"v{version.number}",
            on_one_core=backend.logits_on_one_core,
            cores=cores,
            classes=len(bundle.labels),
            max_batch_size=batching.max_batch_size,
            max_wait_ms=batching.max_wait_ms,
            max_queued=batching.max_queued,
            observe=observe,
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images it takes."""
        return self.bundle.preprocessing.height, self.bundle.preprocessing.width

    @property
    def queued(self) -> int:
        """Images that wait."""
        return self._batcher.queued

    @property
    def seconds_to_wait(self) -> float:
        """What is queued takes about so long."""
        return self._batcher.seconds_to_wait

    def submit(
        self, images: Images, *, deadline: float, run_here: bool = False
    ) -> "Future[Answer]":
        """Logits of images [N, H, W, 3] of its size; Overloaded, DeadlinePassed.

        With `run_here` the caller's thread runs a lone request."""
        return self._batcher.submit(images, deadline=deadline, run_here=run_here)

    def top(
        self, logits: NDArray[np.float32], count: int
    ) -> list[tuple[Prediction, ...]]:
        """The `count` likeliest classes for each row of [N, K], by probability."""
        probabilities = softmax(logits)
        likeliest = top_k(probabilities, count)
        values = np.take_along_axis(probabilities, likeliest, axis=1)
        ids, names = self.bundle.labels.ids, self.bundle.labels.names
        # Python's own numbers: numpy's take twice as long to look up and to print.
        return [
            tuple(
                Prediction(index, ids[index], names[index], float(f"{value:.7g}"))
                for index, value in zip(*row, strict=True)
            )
            for row in zip(likeliest.tolist(), values.tolist(), strict=True)
        ]

    def close(self) -> None:
        """Returns when what it was asked is answered; the memory goes with the last
        reference."""
        self._batcher.close()


def warm_up(bundle: Bundle, backend: Backend, *, largest: int) -> None:
    """Runs the network on as many images as it may be asked about; FailedCheck."""
    size = (bundle.preprocessing.height, bundle.preprocessing.width)
    for count in backend.batch_sizes(largest):
        images = np.zeros((count, *size, 3), np.uint8)
        for network in (backend.logits, backend.logits_on_one_core):
            if network is not None:
                _check(network, images, (count, len(bundle.labels)))


def _check(network: RunNetwork, images: Images, expected: tuple[int, int]) -> None:
    try:
        logits = network(images)
    # ONNX Runtime's errors share no class of their own, and may name folders.
    except Exception as error:
        logger.exception("the network cannot be run images=%d", len(images))
        raise FailedCheck(
            f"the network cannot be run on {len(images)} images: {type(error).__name__}"
        ) from error
    if logits.shape != expected or logits.dtype.kind != "f":
        raise FailedCheck(
            f"asked for logits {expected}, the network gave {logits.dtype} "
            f"{logits.shape}"
        )
    if not np.isfinite(logits).all():
        raise FailedCheck(f"the network gave logits {expected} that are not finite")


class BadTopK(ValueError):
    """A number of answers that the version cannot give."""

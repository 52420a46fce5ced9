"""One version, ready to answer."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from classifier.bundle.files import Bundle
from classifier.inference.backends.base import Backend
from classifier.inference.predict import warm_up
from classifier.store.versions import Version
from serving.inference.batcher import BatchDone, Cores, MicroBatcher
from serving.inference.request_queue import Answer, Images


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

    def close(self) -> None:
        """Returns when what it was asked is answered; the memory goes with the last
        reference."""
        self._batcher.close()


class BadTopK(ValueError):
    """A number of answers that the version cannot give."""

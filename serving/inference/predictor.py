"""One version, ready to answer: its files, its network, and the check before use."""

from classifier.bundle.files import Bundle
from classifier.inference.backends.base import Backend
from classifier.inference.predict import warm_up
from classifier.store.versions import Version
from serving.inference.batcher import BatchMetrics, MicroBatcher, RunningBatches


class BadTopK(ValueError):
    """The version cannot give as many classes as `top_k` asks for."""


class Predictor:
    """A version's files, and the batcher that runs its network."""

    def __init__(
        self,
        version: Version,
        bundle: Bundle,
        backend: Backend,
        *,
        max_batch_size: int = 32,
        max_wait_ms: float = 0.0,
        max_queued: int = 512,
        running: RunningBatches | None = None,
        metrics: BatchMetrics | None = None,
    ) -> None:
        """Runs the network before the first request. Raises FailedCheck if that fails.

        `max_batch_size`, `max_wait_ms` and `max_queued` are those of ServingConfig.
        """
        self.version = version
        self.bundle = bundle
        self.backend = backend
        self.resizing = bundle.preprocessing.resizing
        self.size = (self.resizing.height, self.resizing.width)
        """Height and width of the network's images."""

        self.classes = len(bundle.labels)
        warm_up(bundle, backend, largest=max_batch_size)
        self.batcher = MicroBatcher(
            backend.logits,
            on_one_core=backend.logits_on_one_core,
            running=running,
            classes=self.classes,
            max_batch_size=max_batch_size,
            max_wait_ms=max_wait_ms,
            max_queued=max_queued,
            metrics=metrics,
        )

    def close(self) -> None:
        """Blocks until pending requests are answered; the last reference to the
        predictor then frees its memory."""
        self.batcher.close()

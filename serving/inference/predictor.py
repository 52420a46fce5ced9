"""One version, ready to answer: its files, its network, and the check before use."""

from contextlib import ExitStack
from dataclasses import dataclass

from classifier.bundle.files import Bundle
from classifier.hardware import Form
from classifier.inference.backends.base import Backend
from classifier.inference.predict import warm_up
from classifier.store.versions import Version
from serving.inference.batcher import BatchMetrics, MicroBatcher, RunningBatches
from serving.inference.requests import Images, Logits


class BadTopK(ValueError):
    """The version cannot give as many classes as `top_k` asks for."""


@dataclass(frozen=True)
class Proof:
    """Why a version is served in its form, with --precision auto."""

    reason: str
    flips: float | None = None
    """Share of the kept images whose first answer is not fp32's; None if none was
    asked."""


class _Network:
    """The network of a version; a batch uses the one in place when it begins."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def logits(self, images: Images) -> Logits:
        return self.backend.logits(images)

    def logits_on_one_core(self, images: Images) -> Logits:
        return (self.backend.logits_on_one_core or self.backend.logits)(images)


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
        self._network = network = _Network(backend)
        self.proof: Proof | None = None
        """Set with --precision auto."""

        self.held = ExitStack()
        """What is given back when the version leaves the memory."""

        self.resizing = bundle.preprocessing.resizing
        self.size = (self.resizing.height, self.resizing.width)
        """Height and width of the network's images."""

        self.classes = len(bundle.labels)
        warm_up(bundle, backend, largest=max_batch_size)
        self.batcher = MicroBatcher(
            network.logits,
            on_one_core=backend.logits_on_one_core and network.logits_on_one_core,
            running=running,
            classes=self.classes,
            max_batch_size=max_batch_size,
            max_wait_ms=max_wait_ms,
            max_queued=max_queued,
            metrics=metrics,
        )

    @property
    def backend(self) -> Backend:
        return self._network.backend

    @property
    def form(self) -> Form:
        """Engine and precision in use."""
        return Form(self.backend.name, self.backend.precision)

    def use(self, backend: Backend, proof: Proof) -> None:
        """Runs the batches that begin from now on with `backend`, which is warm."""
        self._network.backend, self.proof = backend, proof

    def close(self) -> None:
        """Blocks until pending requests are answered; the last reference to the
        predictor then frees its memory."""
        self.batcher.close()
        self.held.close()

"""One version, ready to answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.bundle import Bundle
from classifier.ranking import softmax, top_k
from classifier.versions import Version
from serving.backend import Backend


class FailedCheck(RuntimeError):
    """A version that loads but does not answer as its files say it should."""


@dataclass(frozen=True)
class Prediction:
    """One of the likeliest classes."""

    index: int
    id: str
    name: str
    probability: float
    """0..1, to seven digits: a float32 holds no more."""


@dataclass(frozen=True)
class Predictor:
    """A version's files, and the backend that runs its network."""

    version: Version
    bundle: Bundle
    backend: Backend
    max_batch_size: int

    def warm_up(self) -> None:
        """Runs once with one image and once with a full batch; FailedCheck."""
        size = (self.bundle.preprocessing.height, self.bundle.preprocessing.width)
        for count in {1, self.max_batch_size}:
            logits = self.backend.logits(np.zeros((count, *size, 3), np.uint8))
            expected = (count, len(self.bundle.labels))
            if logits.shape != expected or not np.isfinite(logits).all():
                raise FailedCheck(
                    f"asked for logits {expected}, the network gave {logits.shape}"
                    f"{'' if np.isfinite(logits).all() else ' that are not finite'}"
                )

    def predict(
        self, images: NDArray[np.uint8], top: int
    ) -> list[tuple[Prediction, ...]]:
        """The `top` likeliest classes of each image [N, H, W, 3], by probability."""
        logits = np.concatenate(
            [
                self.backend.logits(images[start : start + self.max_batch_size])
                for start in range(0, len(images), self.max_batch_size)
            ]
        )
        probabilities = softmax(logits)
        return [
            self._named(row, indices)
            for row, indices in zip(
                probabilities, top_k(probabilities, top), strict=True
            )
        ]

    def _named(
        self, probabilities: NDArray[np.float64], indices: Sequence[int]
    ) -> tuple[Prediction, ...]:
        labels = self.bundle.labels
        return tuple(
            Prediction(
                index=int(index),
                id=labels.ids[index],
                name=labels.names[index],
                probability=float(f"{probabilities[index]:.7g}"),
            )
            for index in indices
        )

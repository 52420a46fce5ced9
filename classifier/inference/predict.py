"""Predictions of a bundle without HTTP: images in, the likeliest classes out."""

import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.bundle.files import Bundle
from classifier.bundle.labels import Labels
from classifier.inference.backends.base import Backend, RunNetwork
from classifier.metrics import softmax, top_k

TIMED_BATCHES = 7

logger = logging.getLogger(__name__)


class FailedCheck(RuntimeError):
    """The network of a version loads but does not answer as its files say."""


class NotFinite(ArithmeticError):
    """The logits of an image are not finite."""


@dataclass(slots=True)
class Prediction:
    """One of the likeliest classes. Not frozen: that makes it five times slower."""

    index: int
    id: str
    name: str
    probability: float
    """0..1, to seven digits: a float32 holds no more."""


def predict(
    files: Sequence[bytes], bundle: Bundle, backend: Backend, *, count: int
) -> list[tuple[Prediction, ...]]:
    """The `count` likeliest classes of each encoded image.

    Raises UndecodableImage or ImageTooLarge. All images are one batch.
    """
    images = np.stack([bundle.preprocessing.image(file) for file in files])
    return top_classes(bundle.labels, backend.logits(images), count)


def logits_by_batch(
    backend: Backend, images: NDArray[np.uint8], *, batch_size: int
) -> Iterator[NDArray[np.float32]]:
    """Logits [n, K] of each `batch_size` of `images` [N, H, W, 3]."""
    for start in range(0, len(images), batch_size):
        yield backend.logits(np.asarray(images[start : start + batch_size]))


def images_per_second(backend: Backend, images: NDArray[np.uint8]) -> float:
    """Speed of one batch, `images` [N, H, W, 3]: the median of TIMED_BATCHES runs."""
    backend.logits(images)  # the first run allocates
    seconds = []
    for _ in range(TIMED_BATCHES):
        started = time.perf_counter()
        backend.logits(images)
        seconds.append(time.perf_counter() - started)
    return len(images) / statistics.median(seconds)


class Likeliest(NamedTuple):
    """The k likeliest classes of each row of logits, by falling probability."""

    classes: NDArray[np.int64]
    """Shape [N, k]; equals by smaller index."""

    probabilities: NDArray[np.float64]
    """Shape [N, k]."""


def likeliest(logits: NDArray[np.float32], count: int) -> Likeliest:
    """The `count` likeliest classes of each row of [N, K], or all K if they are fewer.

    A row's are the same in any batch, to the bit.
    """
    probabilities = softmax(logits)
    classes = top_k(probabilities, count)
    return Likeliest(classes, np.take_along_axis(probabilities, classes, axis=1))


def top_classes(
    labels: Labels,
    logits: NDArray[np.float32],
    count: int,
    *,
    found: Likeliest | None = None,
) -> list[tuple[Prediction, ...]]:
    """The `count` likeliest classes of each row of [N, K], by falling probability.

    `found` has at least as many of the same rows, if they are known already.
    """
    classes, probabilities = found or likeliest(logits, count)
    ids, names = labels.ids, labels.names
    # Python's own numbers: numpy's take twice as long to look up and to print.
    rows = zip(classes.tolist(), probabilities.tolist(), strict=True)
    return [
        tuple(
            Prediction(index, ids[index], names[index], float(f"{probability:.7g}"))
            for index, probability in zip(top[:count], values, strict=False)
        )
        for top, values in rows
    ]


def warm_up(bundle: Bundle, backend: Backend, *, largest: int) -> None:
    """Runs the network on batches of zeros, up to `largest` images.

    Raises FailedCheck if it fails, or if its logits have another shape or are not
    finite.
    """
    size = (bundle.preprocessing.height, bundle.preprocessing.width)
    for count in backend.batch_sizes(largest):
        images = np.zeros((count, *size, 3), np.uint8)
        _check(backend.logits, images, (count, len(bundle.labels)))
    if backend.logits_on_one_core is not None:
        # One image shows that it runs; 32 on one core are half the time of a load.
        _check(backend.logits_on_one_core, images[:1], (1, len(bundle.labels)))


def _check(
    network: RunNetwork, images: NDArray[np.uint8], expected: tuple[int, int]
) -> None:
    try:
        logits = network(images)
    # ONNX Runtime's errors share no class of their own, and may name folders.
    except Exception as error:
        logger.exception("the network cannot be run images=%d", len(images))
        raise FailedCheck(
            f"the network cannot be run on {len(images)} images: {type(error).__name__}"
        ) from error
    _check_logits(logits, expected)
    if not np.isfinite(logits).all():
        raise FailedCheck(f"the network gave logits {expected} that are not finite")


def logits_or_failures(
    network: RunNetwork, images: NDArray[np.uint8], *, classes: int
) -> tuple[NDArray[np.float32], dict[int, Exception]]:
    """Logits [N, classes], and errors by the image's place, whose logits are 0.

    A batch that fails is run again image by image, so that only the bad image fails.
    Never raises.
    """
    try:
        logits = network(images)
        _check_logits(logits, (len(images), classes))
    except Exception as error:
        if len(images) == 1:
            logger.exception("the network failed about an image")
            return np.zeros((1, classes), np.float32), {0: error}
        logger.warning("a batch failed images=%d reason=%s", len(images), error)
        singly = [
            logits_or_failures(network, images[place : place + 1], classes=classes)
            for place in range(len(images))
        ]
        failures = {k: failed[0] for k, (_, failed) in enumerate(singly) if failed}
        return np.concatenate([row for row, _ in singly]), failures
    is_finite = np.isfinite(logits).all(axis=1, keepdims=True)
    failure = NotFinite("the network's answer about the image is no number")
    failures = {int(place): failure for place in np.flatnonzero(~is_finite)}
    return (np.where(is_finite, logits, 0) if failures else logits), failures


def _check_logits(logits: NDArray[np.float32], expected: tuple[int, int]) -> None:
    """Raises FailedCheck unless the logits are floats of the shape `expected`."""
    if logits.shape != expected or logits.dtype.kind != "f":
        raise FailedCheck(
            f"asked for logits {expected}, the network gave {logits.dtype} "
            f"{logits.shape}"
        )

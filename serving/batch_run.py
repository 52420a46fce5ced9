"""A batch through the network, in which an image that fails does so alone."""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serving.request_queue import Images

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]
"""Shape [N, K]."""


class NotFinite(ArithmeticError):
    """The network's answer about an image is no number."""


class WrongLogits(ValueError):
    """The network gave something else than a row of numbers for each image."""


def run_batch(
    network: Callable[[Images], Logits], images: Images, *, classes: int
) -> tuple[Logits, dict[int, Exception]]:
    """Logits, and by place what failed, whatever it was: the thread must go on."""
    try:
        logits = _checked(network(images), (len(images), classes))
        finite = np.isfinite(logits).all(axis=1)
    except Exception as error:
        if len(images) == 1:
            logger.exception("the network failed about an image")
            return np.full((1, classes), np.nan, np.float32), {0: error}
        logger.warning("a batch failed images=%d reason=%s", len(images), error)
        return _one_by_one(network, images, classes=classes)
    not_finite = np.flatnonzero(~finite)
    failure = NotFinite("the network's answer about the image is no number")
    return logits, {int(place): failure for place in not_finite}


def _checked(logits: Logits, expected: tuple[int, int]) -> Logits:
    if logits.shape != expected or logits.dtype.kind != "f":
        raise WrongLogits(
            f"asked for logits {expected}, the network gave {logits.dtype} "
            f"{logits.shape}"
        )
    return logits


def _one_by_one(
    network: Callable[[Images], Logits], images: Images, *, classes: int
) -> tuple[Logits, dict[int, Exception]]:
    rows: list[Logits] = []
    failures: dict[int, Exception] = {}
    for place in range(len(images)):
        logits, failed = run_batch(network, images[place : place + 1], classes=classes)
        rows.append(logits)
        if failed:
            failures[place] = failed[0]
    return np.concatenate(rows), failures

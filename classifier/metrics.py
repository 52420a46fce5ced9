"""From logits to probabilities, and from those to the likeliest classes in order."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]


def softmax(logits: FloatArray) -> NDArray[np.float64]:
    """Probabilities of the same shape; the last axis sums to 1.

    In float64, so that classes whose float32 logits differ keep their order.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(
        axis=-1, keepdims=True
    )
    return probabilities


def top_k(probabilities: FloatArray, k: int) -> IntArray:
    """Class indices [N, min(k, K)] by falling probability, equals by smaller index."""
    return np.argsort(-probabilities, axis=-1, kind="stable")[:, :k]


def rank_of_target(top: IntArray, targets: IntArray) -> IntArray:
    """Where each target stands in its row of `top` [N, k]: 1..k, or 0 if nowhere."""
    hits = top == targets[:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)

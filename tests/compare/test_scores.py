"""Log loss and Brier score: scikit-learn's where the five answers are all there is."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from compare.agreement import FloatArray, IntArray, TopFive
from compare.scores import brier_scores, log_losses, truth_probabilities


def _forecasts(classes: int, images: int = 300) -> tuple[FloatArray, IntArray]:
    """Probabilities [N, K] of a fair version, and the truth."""
    rng = np.random.default_rng(classes)
    targets = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), targets] += 2
    return softmax(logits, axis=1), targets


def _top_five(probabilities: FloatArray) -> TopFive:
    """-1 and NaN beyond the number of classes."""
    images, classes = probabilities.shape
    listed = min(5, classes)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :listed]
    indices, values = np.full((images, 5), -1), np.full((images, 5), np.nan)
    indices[:, :listed] = order
    values[:, :listed] = np.take_along_axis(probabilities, order, axis=1)
    return TopFive(indices, values)


@pytest.mark.parametrize("classes", [2, 3, 5, 6])
def test_up_to_six_classes_the_scores_are_those_of_all_probabilities(
    classes: int,
) -> None:
    probabilities, targets = _forecasts(classes)
    top, every = _top_five(probabilities), range(classes)

    losses = log_losses(top, targets, classes=classes)
    briers = brier_scores(top, targets, classes=classes)

    assert losses.mean() == pytest.approx(
        log_loss(targets, probabilities, labels=every)
    )
    assert briers.mean() == pytest.approx(
        brier_score_loss(targets, probabilities, labels=every, scale_by_half=False)
    )


def test_beyond_the_five_the_rest_is_spread_evenly() -> None:
    """So the scores are scikit-learn's of that forecast."""
    probabilities, targets = _forecasts(20)
    top = _top_five(probabilities)
    spread = np.repeat((1 - top.probabilities.sum(axis=1))[:, None] / 15, 20, axis=1)
    np.put_along_axis(spread, top.indices, top.probabilities, axis=1)

    losses = log_losses(top, targets, classes=20)
    briers = brier_scores(top, targets, classes=20)

    assert (top.ranks(targets) == 0).any()
    assert losses.mean() == pytest.approx(log_loss(targets, spread, labels=range(20)))
    assert briers.mean() == pytest.approx(
        brier_score_loss(targets, spread, labels=range(20), scale_by_half=False)
    )


@pytest.mark.parametrize(
    "probabilities",
    [(1.0, 0.0, 0.0, 0.0, 0.0), (0.9, 0.1, 1e-7, 0.0, 0.0), (1.0, 2e-7, 0.0, 0.0, 0.0)],
)
@pytest.mark.parametrize("target", [0, 4, 7])
def test_what_is_never_expected_costs_much_and_not_infinitely(
    probabilities: tuple[float, ...], target: int
) -> None:
    """Also where rounding took the sum above 1."""
    top = TopFive(np.arange(5)[None, :], np.array([probabilities]))
    truth = np.array([target])

    (loss,) = log_losses(top, truth, classes=10)
    (brier,) = brier_scores(top, truth, classes=10)

    assert 0 <= loss <= 15.95
    assert (loss > 15) == (target != 0)
    assert 0 <= brier <= 2 + 1e-6


def test_a_class_that_is_not_named_is_no_likelier_than_the_last_that_is() -> None:
    """An answer whose probabilities do not add up to 1."""
    top = TopFive(np.arange(5)[None, :], np.array([[0.3, 0.1, 0.1, 0.1, 0.05]]))

    (probability,) = truth_probabilities(top, np.array([5]), classes=7)

    assert probability == 0.05


def test_no_images_have_no_scores() -> None:
    nothing = TopFive(np.empty((0, 5), np.int64), np.empty((0, 5)))
    none = np.empty(0, np.int64)

    assert log_losses(nothing, none, classes=3).shape == (0,)
    assert brier_scores(nothing, none, classes=3).shape == (0,)

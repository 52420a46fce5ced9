"""Metrics over classes equal scikit-learn's, and their intervals hold the truth."""

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
)

from classifier.bundle.labels import Labels
from classifier.metrics import IntArray
from training.evaluation.class_metrics import (
    as_json,
    class_report,
    macro_means,
    report_lines,
    wilson,
)


def _answers(
    classes: int, count: int, *, right: float, seed: int = 0
) -> tuple[IntArray, IntArray]:
    rng = np.random.default_rng(seed)
    targets = np.sort(rng.integers(0, classes, count))
    others = rng.integers(0, classes, count)
    return targets, np.where(rng.random(count) < right, targets, others)


@pytest.mark.parametrize(("classes", "count"), [(2, 30), (10, 400), (50, 900)])
def test_all_measures_equal_scikit_learns(classes: int, count: int) -> None:
    targets, answers = _answers(classes, count, right=0.6)

    report = class_report(targets, answers, classes=classes)

    labels = np.arange(classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, answers, labels=labels
    )
    for found in report.classes:
        values = (found.precision.value, found.recall.value, found.f1.value)
        of_class = (precision[found.index], recall[found.index], f1[found.index])
        assert values == pytest.approx(of_class)
        assert found.images == support[found.index]
    assert report.macro_f1.value == pytest.approx(f1.mean())
    balanced = balanced_accuracy_score(targets, answers)
    assert report.balanced_accuracy.value == pytest.approx(balanced)
    expected = confusion_matrix(targets, answers, labels=labels)
    assert np.array_equal(report.confusion, expected)
    means = macro_means(targets, answers, classes=classes)
    assert means == pytest.approx((f1.mean(), balanced))


def test_classes_without_images_or_answers_are_left_out_of_the_means() -> None:
    targets, answers = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 3])

    report = class_report(targets, answers, classes=4)

    zero, one, two, three = report.classes
    assert (zero.precision.value, zero.recall.value) == (2 / 3, 1)
    assert (one.precision.value, one.recall.value, one.f1.value) == (None, 0, 0)
    assert (two.recall.value, two.f1.value) == (None, None)
    assert (three.precision.value, three.recall.value) == (0, None)
    assert report.balanced_accuracy.value == 0.5
    assert report.macro_f1.value == pytest.approx((0.8 + 0) / 2)
    assert macro_means(targets, answers, classes=4) == pytest.approx((0.4, 0.5))


@pytest.mark.parametrize(("classes", "each"), [(2, 50), (10, 20), (30, 30)])
def test_the_intervals_hold_the_truth_in_about_95_of_100_samples(
    classes: int, each: int
) -> None:
    rng = np.random.default_rng(1)
    likely = 0.7 * np.eye(classes) + 0.3 * rng.dirichlet(np.ones(classes), classes)
    shares = likely / classes
    right = np.diagonal(shares)
    truth = {
        "macro_f1": float((2 * right / (shares.sum(0) + shares.sum(1))).mean()),
        "balanced_accuracy": float(np.diagonal(likely).mean()),
    }
    held = dict.fromkeys(truth, 0)
    for _ in range(200):
        drawn = rng.multinomial(classes * each, shares.ravel())
        flat = np.repeat(np.arange(classes**2), drawn)
        report = class_report(flat // classes, flat % classes, classes=classes)
        for name, value in truth.items():
            low, high = getattr(report, name).low, getattr(report, name).high
            held[name] += low <= value <= high

    # 190 of 200 expected; 3.1 is the standard deviation.
    assert all(count >= 178 for count in held.values()), held


def test_wilsons_interval_is_that_of_the_book() -> None:
    """Newcombe 1998, table I: 81 of 263, and 0 of 20."""
    found, none = wilson(81, 263), wilson(0, 20)

    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert (none.low, none.high) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0, 0).value is None


def test_an_interval_has_a_width_also_where_nothing_or_everything_is_right() -> None:
    targets = np.arange(5).repeat(10)

    for answers in (targets, (targets + 1) % 5):
        report = class_report(targets, answers, classes=5)
        value = float(answers[0] == targets[0])
        for found in (report.balanced_accuracy, report.classes[0].f1):
            assert found.value == value
            assert found.low is not None
            assert found.high is not None
            assert found.high - found.low > 0.1


@pytest.mark.parametrize("classes", [3, 50])
def test_of_many_classes_the_best_and_the_worst_are_printed(classes: int) -> None:
    labels = Labels.from_ids([f"{index:02}" for index in range(classes)])
    report = class_report(*_answers(classes, 900, right=0.6), classes=classes)

    lines = report_lines(report, labels)

    assert len(lines) == 5 + (3 if classes == 3 else 21)
    assert ("… 30 more, all with --out FILE.json" in lines) == (classes == 50)
    assert len(as_json(report, labels)["classes"]) == classes

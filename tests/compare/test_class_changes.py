"""Classes beyond chance."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from compare.class_changes import class_changes
from compare.intervals import mcnemar_mid_p


def test_a_class_that_got_worse_beyond_chance_is_a_regression() -> None:
    targets = np.repeat([0, 1, 2, 5], 50)
    baseline = np.ones(200, bool)
    candidate = np.ones(200, bool)
    candidate[:20] = False  # class 0 loses 20 of 50
    candidate[50:52] = False  # class 1 loses 2
    baseline[100:120] = False  # class 2 gains 20

    changes = class_changes(targets, baseline=baseline, candidate=candidate)

    assert [change.index for change in changes] == [0, 1, 2, 5]
    assert [change.is_regression for change in changes] == [True, False, False, False]
    assert changes[0].delta.value == -0.4
    mid_ps = [mcnemar_mid_p(change.table) for change in changes]
    assert [c.q_value for c in changes] == pytest.approx(
        false_discovery_control(mid_ps, method="bh").tolist()
    )


def test_no_images_have_no_classes() -> None:
    nothing = np.array([], bool)

    assert class_changes(np.array([], int), baseline=nothing, candidate=nothing) == []

"""The likeliest classes of logits."""

import numpy as np
import pytest

from classifier.bundle.labels import Labels
from classifier.inference.predict import likeliest, top_classes


@pytest.mark.parametrize("classes", [3, 10, 200, 1000])
def test_the_likeliest_of_an_image_are_the_same_in_any_batch(classes: int) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (33, classes)).astype(np.float32)
    logits[5] = 1.5  # all classes are equals
    logits[6, ::2] = logits[6, 0]

    together = likeliest(logits, 5)

    for place, row in enumerate(logits):
        alone = likeliest(row[None], 5)
        assert alone.classes.tolist() == together.classes[place : place + 1].tolist()
        assert (alone.probabilities == together.probabilities[place]).all()


def test_what_is_known_already_is_not_looked_for_again() -> None:
    labels = Labels.from_ids(f"n{index}" for index in range(7))
    logits = np.array([[0, 3, 1, 2, 5, 4, -1]], np.float32)

    (two,) = top_classes(labels, logits, 2, found=likeliest(logits, 5))

    assert [top_classes(labels, logits, 2)[0], [each.index for each in two]] == [
        two,
        [4, 5],
    ]

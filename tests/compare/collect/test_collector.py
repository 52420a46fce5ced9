"""How images are put into requests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from classifier.datasets.dataset import Dataset
from compare.collect.answer_store import AnswerStore
from compare.collect.client import Service
from compare.collect.collector import MAX_BATCH_BYTES, batch_bounds, collect_answers
from compare.collect.images import labelled_images
from compare.collect.schema import TopAnswer
from tests.compare.conftest import served


@pytest.mark.parametrize(
    ("sizes", "most", "bounds"),
    [
        ([], 32, []),
        ([1] * 5, 2, [(0, 2), (2, 4), (4, 5)]),
        ([1] * 4, 2, [(0, 2), (2, 4)]),
        ([MAX_BATCH_BYTES // 2] * 3, 32, [(0, 2), (2, 3)]),
        ([MAX_BATCH_BYTES + 1] * 2, 32, [(0, 1), (1, 2)]),
        ([1, MAX_BATCH_BYTES, 1], 32, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_a_request_is_bounded_in_images_and_bytes(
    sizes: list[int], most: int, bounds: list[tuple[int, int]]
) -> None:
    assert batch_bounds(sizes, most) == bounds


class _Asked:
    """Answers everything, and knows what it was asked."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def ask(self, batch: Sequence[tuple[str, bytes]], versions: object) -> Any:
        self.names += [name for name, _ in batch]
        return [(TopAnswer((0,), (1.0,)), TopAnswer((0,), (1.0,)))] * len(batch)


def test_a_larger_sample_is_asked_about_what_the_smaller_one_lacks(
    digits: Dataset, tmp_path: Path
) -> None:
    asked: list[set[str]] = []
    for limit in (20, 50, None):
        images, service = labelled_images(digits, limit), _Asked()
        with AnswerStore(tmp_path) as store:
            collect_answers(
                cast(Service, service),
                images.in_sampling_order(),
                store,
                a=served("8"),
                b=served("16"),
                batch_size=10,
                concurrency=1,
            )
        asked.append(set(service.names))
        assert len(service.names) == len(asked[-1])

    assert [len(names) for names in asked] == [20, 30, 896 - 50]
    assert set.union(*asked) == set(digits.val.names)

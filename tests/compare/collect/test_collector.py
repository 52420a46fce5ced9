"""How images are put into requests."""

import json
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from classifier.datasets.dataset import Dataset
from compare.collect.answer_store import AnswerStore
from compare.collect.client import Service
from compare.collect.collector import MAX_BATCH_BYTES, batch_bounds, collect_answers
from compare.collect.images import labelled_images
from tests.compare.collect.conftest import Reply, Script, Wire
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


def test_a_larger_sample_is_asked_about_what_the_smaller_one_lacks(
    digits: Dataset, tmp_path: Path, start: Callable[[Script], Wire]
) -> None:
    def script(path: str, count: int) -> Reply:
        images = len(_names(wire.bodies[-1]))
        top = [{"index": i, "probability": 0.5 / (i + 1)} for i in range(5)]
        rows = [
            {"image": image, "version": version, "top": top}
            for image in range(images)
            for version in ("8", "16")
        ]
        return 200, {}, json.dumps({"results": rows}).encode()

    wire = start(script)
    asked: list[list[str]] = []
    for limit in (20, 50, None):
        wire.bodies.clear()
        with (
            closing(Service(wire.url, patience_seconds=30)) as service,
            AnswerStore(tmp_path) as store,
        ):
            collect_answers(
                service,
                labelled_images(digits, limit).in_sampling_order(),
                store,
                a=served("8"),
                b=served("16"),
                batch_size=10,
                concurrency=1,
            )
        asked.append([name for body in wire.bodies for name in _names(body)])

    assert [len(names) for names in asked] == [20, 30, 896 - 50]
    assert {name for names in asked for name in names} == set(digits.val.names)


def _names(body: bytes) -> list[str]:
    return [name.decode() for name in re.findall(rb'filename="([^"]+)"', body)]

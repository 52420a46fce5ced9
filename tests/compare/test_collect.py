"""How images are put into requests."""

import pytest

from compare.collect import MAX_BATCH_BYTES, batch_bounds


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

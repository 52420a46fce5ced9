"""The matrix in a terminal: its cells, its width, what is too wide for it."""

from pathlib import Path

import pytest

from compare.matrix_table import churn_cells, flip_cells, matrix_lines
from compare.wording import ABSENT
from tests.compare.matrices import made_up_matrix


@pytest.mark.parametrize(
    ("numbers", "has_squares"),
    [
        (["1", "2"], True),
        ([str(n) for n in range(1, 17)], True),
        ([str(n) for n in range(1, 31)], False),
        (["116", "116.int8", "117", "117.int8"], True),
        ([f"{n}.int8" for n in range(100, 116)], False),
    ],
)
def test_lines_stay_within_eighty_columns(
    numbers: list[str], has_squares: bool
) -> None:
    lines = matrix_lines(made_up_matrix(numbers), Path("out"))

    assert max(map(len, lines)) <= 80
    assert any(line.startswith("first answers that differ") for line in lines) == (
        has_squares
    )
    assert all(
        any(line.startswith(f"v{number} ") for line in lines) for number in numbers
    )


def test_cells_are_the_pairs_shares() -> None:
    matrix = made_up_matrix(["1", "2", "3"])

    churn, flips = churn_cells(matrix), flip_cells(matrix)

    last = matrix["pairs"][-1]
    assert (last["a"], last["b"]) == ("2", "3")
    assert churn[1][2] == churn[2][1] == last["disagreement_rate"]
    assert flips[1][2] == last["broken"] / last["images"]
    assert flips[2][1] == last["fixed"] / last["images"]
    assert [churn[place][place] for place in range(3)] == [None] * 3


def test_no_images_leave_dashes() -> None:
    lines = matrix_lines(made_up_matrix(["1", "2"], images=0), Path("out"))

    assert any(line.split() == ["v1", ABSENT, ABSENT] for line in lines)

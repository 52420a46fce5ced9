"""Room on a disk, asked for before it is needed."""

from pathlib import Path

import pytest

from training.disk import DiskTooSmall, check_room, megabytes


def test_too_little_room_is_told_with_both_numbers_and_the_remedy(
    tmp_path: Path,
) -> None:
    with pytest.raises(
        DiskTooSmall,
        match=r"a run takes 1,000,000,000 MB in .*/new, and [\d,]+ MB are free there; "
        "train less",
    ):
        check_room(tmp_path / "new", 10**15, purpose="a run", remedy="train less")


def test_a_folder_that_is_not_there_yet_has_the_room_of_its_disk(
    tmp_path: Path,
) -> None:
    check_room(tmp_path / "a" / "b", 1, purpose="a run", remedy="train less")

    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("count", "text"), [(1_228_800_128, "1,229 MB"), (20_000, "0.02 MB")]
)
def test_megabytes_are_decimal(count: int, text: str) -> None:
    assert megabytes(count) == text

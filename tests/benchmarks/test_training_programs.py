"""Programs that are stopped in time, and folders of links to images."""

import time
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from benchmarks.training_programs import (
    ProgramStopped,
    arrange,
    count_images,
    run_program,
)
from classifier.datasets.source import open_dataset

ENDLESS = ["--data", "digits", "--arch", "tiny", "--epochs", "9999", "--device", "cpu"]


def test_a_program_is_stopped_when_its_time_is_over(tmp_path: Path) -> None:
    """Also while it still imports."""
    until = time.monotonic() + 2

    with pytest.raises(ProgramStopped, match="9999"):
        run_program("training", ENDLESS, store=tmp_path, until=until)


def test_a_program_without_time_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(ProgramStopped, match="no time is left"):
        run_program("training", ENDLESS, store=tmp_path, until=time.monotonic())

    assert not [*tmp_path.iterdir()]


def test_image_folder_and_training_read_the_same_images_from_the_arranged_folder(
    tiny: Path, tmp_path: Path
) -> None:
    folder = arrange(str(tiny), tmp_path / "arranged")

    ours = open_dataset(str(folder), cache=tmp_path / "cache", want_train=True)
    assert ours.train is not None
    for name, part in (("train", ours.train), ("val", ours.val)):
        theirs = ImageFolder(folder / name)
        ids = [theirs.classes[target] for target in theirs.targets]
        files = [Path(file) for file, _ in theirs.samples]
        assert sorted(zip(ids, files, strict=True)) == sorted(
            zip(part.class_ids, part.files, strict=True)
        )
        assert theirs[0][0].size == (32, 24)


def test_a_validation_image_lies_in_the_folder_of_its_annotated_class(
    tiny: Path, tmp_path: Path
) -> None:
    folder = arrange(str(tiny), tmp_path / "arranged")

    placed = {path.name: path.parent.name for path in (folder / "val").glob("*/*")}
    assert placed == {
        "val_0.JPEG": "n02",
        "val_1.JPEG": "n01",
        "val_2.JPEG": "n02",
        "val_3.JPEG": "n01",
    }


def test_a_smaller_part_has_the_first_images_of_each_class(
    tiny: Path, tmp_path: Path
) -> None:
    folder = arrange(str(tiny), tmp_path / "arranged", per_class=2, val_per_class=1)

    assert count_images(folder / "train") == 4
    assert sorted(path.name for path in (folder / "val").glob("*/*")) == [
        "val_0.JPEG",
        "val_1.JPEG",
    ]

"""Data sets of both layouts, whole and damaged."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from classifier.datasets.dataset import BadDataset, Dataset
from tests.classifier.conftest import Open


def test_tiny_imagenet_takes_labels_from_the_table_and_names_from_words(
    tiny: Path, open_: Open
) -> None:
    dataset = open_(tiny)

    assert dataset.name == "tiny-imagenet"
    assert dataset.labels.ids == ("n01", "n02")
    assert dataset.labels.names == ("goldfish", "tench")
    assert dataset.val.names == ("val_0.JPEG", "val_1.JPEG", "val_2.JPEG", "val_3.JPEG")
    assert dataset.val.class_ids == ("n02", "n01", "n02", "n01")
    assert dataset.train is not None
    assert len(dataset.train) == 6


def test_evaluating_and_comparing_need_only_val(tiny: Path, open_: Open) -> None:
    shutil.rmtree(tiny / "train")

    dataset = open_(tiny, want_train=False)

    assert dataset.train is None
    assert dataset.labels.ids == ("n01", "n02")


def test_a_folder_of_classes_is_named_after_the_folder(
    folders: Path, open_: Open
) -> None:
    dataset = open_(folders)

    assert dataset.name == "my-flowers"
    assert dataset.labels.ids == ("daisy", "rose")
    assert dataset.val.class_ids == ("daisy", "daisy", "rose", "rose")


def test_images_are_named_by_their_path_only_if_file_names_repeat(
    folders: Path, open_: Open
) -> None:
    assert open_(folders).val.names[0] == "daisy/0.png"

    for class_folder in (folders / "val").iterdir():
        for file in class_folder.glob("*.png"):
            file.rename(file.with_name(f"{class_folder.name}-{file.name}"))

    assert open_(folders).val.names[0] == "daisy-0.png"


def test_odd_file_names_are_refused(folders: Path, open_: Open) -> None:
    (folders / "val" / "rose" / "a\nb.png").write_bytes(b"x")

    with pytest.raises(BadDataset, match=r"a\\nb\.png.*rename"):
        open_(folders)


@pytest.mark.parametrize(
    ("layout", "damage", "message"),
    [
        ("tiny", "rm train/n01/images/*", "class 'n01' has no images"),
        ("tiny", "rm -r train/n01", r"1 class is only in val/ \(n01\)"),
        ("tiny", "rm -r train", "train is not there"),
        ("tiny", "rm val/images/val_2.JPEG", r"val_2\.JPEG"),
        ("tiny", "touch val/images/val_9.JPEG", "1 images have no line in .*val_9"),
        ("tiny", "echo x >val/val_annotations.txt", "line 1 of .*val_annotations"),
        ("tiny", "rm val/val_annotations.txt", r"no val_annotations\.txt"),
        ("folders", "rm -r val", "val is not there"),
        ("folders", "mkdir train/tulip", "'tulip' has no images"),
        ("folders", "rm -r val/rose", "only in train/"),
    ],
)
def test_the_error_of_a_damaged_data_set_names_the_damage(
    layout: str,
    open_: Open,
    damage: str,
    message: str,
    request: pytest.FixtureRequest,
) -> None:
    root = request.getfixturevalue(layout)
    subprocess.run(damage, shell=True, check=True, cwd=root)

    with pytest.raises(BadDataset, match=message):
        open_(root)


@pytest.mark.parametrize(
    ("renamed", "hint"),
    [
        ({"val": "valid"}, r"rename or link 'valid' to 'val'"),
        ({"val": "Val", "train": "Train"}, "'Train' to 'train' and 'Val' to 'val'"),
        ({"val": "test"}, r"has 'train' and 'test': rename or link 'test' to 'val'"),
        ({"val": "inner/validation"}, r"inner has 'validation': rename or link"),
        ({"val": "a/b/training"}, r"a/b has 'training': rename or link"),
        ({"val": "other"}, "name .*train with --data, and it is split by itself"),
    ],
)
def test_the_error_says_how_to_rename_parts_with_other_names(
    folders: Path, open_: Open, renamed: dict[str, str], hint: str
) -> None:
    for part, name in renamed.items():
        (folders / name).parent.mkdir(parents=True, exist_ok=True)
        (folders / part).rename(folders / name)

    with pytest.raises(BadDataset, match=rf"(val|train) is not there; .*{hint}"):
        open_(folders)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_of_another_user_beside_the_data_is_skipped(
    folders: Path, open_: Open
) -> None:
    """For example lost+found of a disk, which only root may enter."""
    (folders.parent / "lost+found").mkdir(mode=0)

    assert len(open_(folders.parent).val) == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_data_that_this_user_may_not_read_is_refused(tiny: Path, open_: Open) -> None:
    (tiny / "words.txt").chmod(0)
    with pytest.raises(BadDataset, match=r"words\.txt cannot be read: Permission"):
        open_(tiny)

    tiny.chmod(0)
    with pytest.raises(BadDataset, match="cannot be listed: Permission denied"):
        open_(tiny)
    with pytest.raises(BadDataset, match="cannot be accessed: Permission denied"):
        open_(tiny / "val")
    tiny.chmod(0o700)


def test_the_error_names_a_path_that_is_absent_or_no_data_set(
    tmp_path: Path, open_: Open
) -> None:
    with pytest.raises(BadDataset, match=r"no data at .*nowhere"):
        open_(tmp_path / "nowhere")

    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(BadDataset, match="of an unknown kind"):
        open_(tmp_path / "data.csv")


def test_digits_come_in_halves_of_each_class(digits: Dataset) -> None:
    assert digits.train is not None
    assert (len(digits.train), len(digits.val)) == (901, 896)
    assert digits.labels.names[3] == "three"
    assert digits.source == digits.name == "digits"
    for class_id in digits.labels:
        halves = [part.class_ids.count(class_id) for part in (digits.train, digits.val)]
        assert 0 <= halves[0] - halves[1] <= 1
    assert not set(digits.train.names) & set(digits.val.names)

"""Data sets of both layouts and in archives, whole and damaged."""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from classifier.datasets.dataset import BadDataset, Dataset


def test_tiny_imagenet_takes_labels_from_the_table_and_names_from_words(
    tiny: Path, open_: Callable[..., Dataset]
) -> None:
    dataset = open_(tiny)

    assert dataset.name == "tiny-imagenet"
    assert dataset.labels.ids == ("n01", "n02")
    assert dataset.labels.names == ("goldfish", "tench")
    assert dataset.val.names == ("val_0.JPEG", "val_1.JPEG", "val_2.JPEG", "val_3.JPEG")
    assert dataset.val.class_ids == ("n02", "n01", "n02", "n01")
    assert dataset.train is not None
    assert len(dataset.train) == 6


def test_evaluating_and_comparing_need_only_val(
    tiny: Path, open_: Callable[..., Dataset]
) -> None:
    shutil.rmtree(tiny / "train")

    dataset = open_(tiny, want_train=False)

    assert dataset.train is None
    assert dataset.labels.ids == ("n01", "n02")


def test_a_folder_of_classes_is_named_after_the_folder(
    folders: Path, open_: Callable[..., Dataset]
) -> None:
    dataset = open_(folders)

    assert dataset.name == "my-flowers"
    assert dataset.labels.ids == ("daisy", "rose")
    assert dataset.val.class_ids == ("daisy", "daisy", "rose", "rose")


def test_images_are_named_by_their_path_only_if_file_names_repeat(
    folders: Path, open_: Callable[..., Dataset]
) -> None:
    assert open_(folders).val.names[0] == "daisy/0.png"

    for class_folder in (folders / "val").iterdir():
        for file in class_folder.glob("*.png"):
            file.rename(file.with_name(f"{class_folder.name}-{file.name}"))

    assert open_(folders).val.names[0] == "daisy-0.png"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_an_archive_is_the_same_data_set(
    tiny: Path, open_: Callable[..., Dataset], suffix: str
) -> None:
    archive = tiny.with_name(f"tiny-imagenet-200{suffix}")
    _pack(tiny, archive)

    dataset = open_(archive)

    assert dataset.source == str(archive)
    assert dataset.name == "tiny-imagenet"
    assert dataset.val.names == open_(tiny).val.names


@pytest.mark.parametrize("cut", [0, 100, 512])
def test_a_tar_that_ends_between_two_files_is_cut_off(
    tiny: Path, open_: Callable[..., Dataset], cut: int
) -> None:
    archive = tiny.with_name("data.tar")
    _pack(tiny, archive)
    with tarfile.open(archive) as tarred:
        last = tarred.getmembers()[-3]
    archive.write_bytes(archive.read_bytes()[: last.offset + cut])

    with pytest.raises(BadDataset, match="cut off or damaged"):
        open_(archive)


def test_odd_file_names_are_refused_and_odd_words_are_read(
    folders: Path, open_: Callable[..., Dataset]
) -> None:
    (folders / "words.txt").write_bytes("rose\tRos\xe9e\n".encode("latin-1"))
    assert open_(folders).labels.names[1].startswith("Ros")

    (folders / "val" / "rose" / "a\nb.png").write_bytes(b"x")
    with pytest.raises(BadDataset, match=r"a\\nb\.png.*rename"):
        open_(folders)


def test_an_archive_of_class_folders_is_named_after_the_archive(
    folders: Path, open_: Callable[..., Dataset]
) -> None:
    archive = folders.with_name("flowers.zip")
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in folders.rglob("*.png"):
            zipped.write(file, file.relative_to(folders))

    assert open_(archive).name == "flowers"


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_a_cut_off_archive_is_named_and_leaves_nothing_behind(
    tiny: Path, open_: Callable[..., Dataset], tmp_path: Path, suffix: str
) -> None:
    archive = tiny.with_name(f"data{suffix}")
    _pack(tiny, archive)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(BadDataset, match=r"data\..* is cut off or damaged"):
        open_(archive)

    left = [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock"]
    assert left == [tmp_path / "cache" / "unpacked"]


@pytest.mark.parametrize("has_filter", [True, False])
def test_an_archive_that_reaches_outside_its_folder_is_refused(
    tiny: Path,
    open_: Callable[..., Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_filter: bool,
) -> None:
    if not has_filter:  # as before Python 3.11.4
        monkeypatch.delattr(tarfile, "data_filter")
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as tarred:
        tarred.add(tiny / "words.txt", "../../outside.txt")

    with pytest.raises(BadDataset, match=r"evil\.tar"):
        open_(archive)
    assert not list(tmp_path.rglob("outside.txt"))


def test_val_without_annotations_is_not_taken_for_one_class(
    tiny: Path, open_: Callable[..., Dataset]
) -> None:
    (tiny / "val" / "val_annotations.txt").unlink()

    with pytest.raises(BadDataset, match=r"no val_annotations\.txt"):
        open_(tiny)


def _remove_class_images(root: Path) -> None:
    for image in (root / "train" / "n01" / "images").iterdir():
        image.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove_class_images, "class 'n01' has no images"),
        (
            lambda root: shutil.rmtree(root / "train" / "n01"),
            r"1 class is only in val/ \(n01\)",
        ),
        (lambda root: shutil.rmtree(root / "train"), "train is not there"),
        (lambda root: (root / "val/images/val_2.JPEG").unlink(), r"val_2\.JPEG"),
        (
            lambda root: (root / "val/images/val_9.JPEG").write_bytes(b"x"),
            "1 images have no line in .*val_9",
        ),
        (
            lambda root: (root / "val/val_annotations.txt").write_text("val_0.JPEG\n"),
            "line 1 of .*val_annotations",
        ),
    ],
)
def test_damaged_tiny_imagenet_says_what_is_wrong(
    tiny: Path,
    open_: Callable[..., Dataset],
    damage: Callable[[Path], object],
    message: str,
) -> None:
    damage(tiny)

    with pytest.raises(BadDataset, match=message):
        open_(tiny)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "val"), "val is not there"),
        (lambda root: (root / "train" / "tulip").mkdir(), "'tulip' has no images"),
        (lambda root: shutil.rmtree(root / "val" / "rose"), "only in train/"),
    ],
)
def test_damaged_class_folders_say_what_is_wrong(
    folders: Path,
    open_: Callable[..., Dataset],
    damage: Callable[[Path], object],
    message: str,
) -> None:
    damage(folders)

    with pytest.raises(BadDataset, match=message):
        open_(folders)


@pytest.mark.parametrize(
    ("renamed", "hint"),
    [
        ({"val": "valid"}, r"rename or link 'valid' to 'val'"),
        ({"val": "Val", "train": "Train"}, "'Train' to 'train' and 'Val' to 'val'"),
        ({"val": "test"}, r"has 'train' and 'test': rename or link 'test' to 'val'"),
        ({"val": "inner/validation"}, r"inner has 'validation': rename or link"),
        ({"val": "a/b/training"}, r"a/b has 'training': rename or link"),
        ({"val": "other"}, "a data set is a folder with train"),
    ],
)
def test_the_error_says_how_to_rename_parts_with_other_names(
    folders: Path, open_: Callable[..., Dataset], renamed: dict[str, str], hint: str
) -> None:
    for part, name in renamed.items():
        (folders / name).parent.mkdir(parents=True, exist_ok=True)
        (folders / part).rename(folders / name)

    with pytest.raises(BadDataset, match=rf"(val|train) is not there; .*{hint}"):
        open_(folders)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_of_another_user_beside_the_data_is_skipped(
    folders: Path, open_: Callable[..., Dataset]
) -> None:
    """For example lost+found of a disk, which only root may enter."""
    (folders.parent / "lost+found").mkdir(mode=0)

    assert len(open_(folders.parent).val) == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_data_that_this_user_may_not_read_is_refused(
    tiny: Path, open_: Callable[..., Dataset]
) -> None:
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
    tmp_path: Path, open_: Callable[..., Dataset]
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


def _pack(folder: Path, archive: Path) -> None:
    kind = {".zip": "zip", ".tar": "tar", ".gz": "gztar", ".xz": "xztar"}[
        archive.suffix
    ]
    base = archive.parent / archive.name.split(".")[0]
    made = shutil.make_archive(str(base), kind, folder.parent, folder.name)
    Path(made).rename(archive)

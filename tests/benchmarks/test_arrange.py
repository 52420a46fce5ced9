"""Both programs of a comparison see the same files, under the same classes."""

from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from benchmarks.arrange import arrange, count_images
from classifier.layouts import open_dataset
from tests.conftest import encoded, picture


@pytest.fixture
def tiny_imagenet(tmp_path: Path) -> Path:
    """Two classes of three training and two validation images, in its own layout."""
    root = tmp_path / "tiny-imagenet-200"
    lines = []
    for class_id in ("n02", "n01"):
        images = root / "train" / class_id / "images"
        images.mkdir(parents=True)
        for number in range(3):
            file = images / f"{class_id}_{number}.JPEG"
            file.write_bytes(encoded(picture()))
    images = root / "val" / "images"
    images.mkdir(parents=True)
    for number, class_id in enumerate(("n01", "n02", "n02", "n01")):
        (images / f"val_{number}.JPEG").write_bytes(encoded(picture()))
        lines.append(f"val_{number}.JPEG\t{class_id}\t0\t0\t1\t1\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n01\tfish\nn02\tfowl\n")
    return root


def test_image_folder_and_training_read_the_same_images_from_the_arranged_folder(
    tiny_imagenet: Path, tmp_path: Path
) -> None:
    folder = arrange(str(tiny_imagenet), tmp_path / "arranged")

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
    tiny_imagenet: Path, tmp_path: Path
) -> None:
    folder = arrange(str(tiny_imagenet), tmp_path / "arranged")

    placed = {path.name: path.parent.name for path in (folder / "val").glob("*/*")}
    assert placed == {
        "val_0.JPEG": "n01",
        "val_1.JPEG": "n02",
        "val_2.JPEG": "n02",
        "val_3.JPEG": "n01",
    }


def test_a_smaller_part_has_the_first_images_of_each_class(
    tiny_imagenet: Path, tmp_path: Path
) -> None:
    folder = arrange(
        str(tiny_imagenet), tmp_path / "arranged", per_class=2, val_per_class=1
    )

    assert count_images(folder / "train") == 4
    assert sorted(path.name for path in (folder / "val").glob("*/*")) == [
        "val_0.JPEG",
        "val_1.JPEG",
    ]

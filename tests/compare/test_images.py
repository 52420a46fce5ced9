"""Images with labels, and folders of images without."""

from pathlib import Path

import pytest

from classifier.dataset import BadDataset, Dataset, part_digest
from compare.images import is_unlabelled, labelled_images, unlabelled_images


def test_the_first_images_are_taken_and_the_digest_is_of_all(digits: Dataset) -> None:
    images = labelled_images(digits, limit=3)

    assert images.names == digits.val.names[:3]
    assert images.class_ids == digits.val.class_ids[:3]
    assert images.digest == part_digest(digits.val)
    assert (len(images), images.available) == (3, len(digits.val))


def _folder(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    return str(root)


def test_a_folder_without_a_layout_is_its_images_without_labels(tmp_path: Path) -> None:
    source = _folder(tmp_path, "b.png", "deep/a.jpg", "notes.txt", ".hidden/c.png")

    assert is_unlabelled(source)
    images = unlabelled_images(source, limit=None)
    assert images.names == ("b.png", "deep/a.jpg")
    assert images.class_ids is None
    assert images.data_name == tmp_path.name
    assert unlabelled_images(source, limit=1).digest == images.digest


def test_the_digest_changes_with_an_image(tmp_path: Path) -> None:
    source = _folder(tmp_path, "a.png")
    before = unlabelled_images(source, None).digest
    (tmp_path / "a.png").write_bytes(b"other")

    assert unlabelled_images(source, None).digest != before


@pytest.mark.parametrize("names", [("val/x/a.png",), ("train/x/a.png",), ("a.txt",)])
def test_what_has_a_layout_or_no_image_is_read_as_a_data_set(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    assert not is_unlabelled(_folder(tmp_path, *names))


def test_names_that_no_report_could_carry_are_refused(tmp_path: Path) -> None:
    source = _folder(tmp_path, "a\udcff.png")

    with pytest.raises(BadDataset, match="rename the file"):
        unlabelled_images(source, None)


def test_some_of_the_images_stay_in_the_datas_order(digits: Dataset) -> None:
    images = labelled_images(digits, limit=4)

    some = images.only([images.names[3], images.names[1]])

    assert some.names == images.names[1::2]
    assert some.files == images.files[1::2]
    assert images.class_ids is not None
    assert some.class_ids == images.class_ids[1::2]

"""Images with labels, and folders of images without."""

from collections import Counter
from pathlib import Path

import pytest

from classifier.datasets.dataset import BadDataset, Dataset, part_digest
from compare.collect.images import (
    is_unlabelled,
    labelled_images,
    sampling_order,
    unlabelled_images,
)


def test_a_sample_has_its_share_of_each_class_and_the_digest_of_all(
    digits: Dataset,
) -> None:
    part = digits.val
    images = labelled_images(digits, limit=40)

    assert images.class_ids is not None
    assert list(images.names) == [n for n in part.names if n in images.names]
    class_of = dict(zip(part.names, part.class_ids, strict=True))
    assert [class_of[name] for name in images.names] == list(images.class_ids)
    assert Counter(images.class_ids) == dict.fromkeys(digits.labels.ids, 4)
    assert images == labelled_images(digits, limit=40)
    assert images.digest == part_digest(digits.val)
    assert (len(images), images.available) == (40, len(digits.val))
    assert labelled_images(digits, limit=None).names == part.names
    assert labelled_images(digits, limit=len(part) + 1).names == part.names


SIZES = {"one": 1, "few": 4, "some": 60, "many": 535}


@pytest.mark.parametrize("count", [1, 3, 4, 10, 100, 333, 599, 600])
def test_classes_of_any_size_are_there_in_proportion(count: int) -> None:
    class_ids = [id_ for id_, size in SIZES.items() for _ in range(size)]
    names = [f"{place}.png" for place in range(600)]

    order = sampling_order(names, class_ids)
    taken = Counter(class_ids[place] for place in order[:count])

    assert sorted(order) == list(range(600))
    assert len(taken) == min(count, len(SIZES))
    # The three small ones have one each for certain, which the large one lacks.
    for id_, size in SIZES.items():
        share = count * size / 600
        assert share - 3 < taken[id_] < share + 1.5


def test_a_sample_depends_on_names_and_not_on_how_they_are_listed() -> None:
    names = [f"{place}.png" for place in range(100)]
    class_ids = [str(place % 7) for place in range(100)]
    backwards = sampling_order(names[::-1], class_ids[::-1])

    order = sampling_order(names, class_ids)

    assert [names[p] for p in order] == [names[::-1][p] for p in backwards]
    assert order[:7] != sorted(order[:7])


def test_a_sample_without_labels_is_not_the_first_ones(tmp_path: Path) -> None:
    source = _folder(tmp_path, *(f"{place:02}.png" for place in range(50)))

    images = unlabelled_images(source, limit=10)

    assert len(images) == 10
    assert list(images.names) == sorted(images.names)
    assert images.names[-1] > "10.png"
    assert set(images.names) < set(unlabelled_images(source, limit=11).names)


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


def test_what_is_below_a_folder_and_left_out_is_said(tmp_path: Path) -> None:
    source = _folder(tmp_path, "a.png", "b.heic", "deep/.c.png")

    assert unlabelled_images(source, None).notes == (
        f"left out of {tmp_path.name}/: 1 .heic, 1 hidden",
    )


def test_folders_named_like_parts_are_hinted_at(tmp_path: Path) -> None:
    source = _folder(tmp_path, "Train/x/a.png", "valid/x/b.png")

    assert is_unlabelled(source)
    assert unlabelled_images(source, None).notes == (
        "if these images have labels: the folder has 'Train' and 'valid': rename or "
        "link 'Train' to 'train' and 'valid' to 'val'",
    )


def test_a_data_set_a_folder_deep_has_labels(tmp_path: Path) -> None:
    assert not is_unlabelled(_folder(tmp_path, "data/val/x/a.png", "data/b.png"))
    assert is_unlabelled(_folder(tmp_path / "trains", "photos/val/a.png"))


def test_some_of_the_images_stay_in_the_datas_order(digits: Dataset) -> None:
    images = labelled_images(digits, limit=4)
    assert len(images) == 4

    some = images.only([images.names[3], images.names[1]])

    assert some.names == images.names[1::2]
    assert some.files == images.files[1::2]
    assert images.class_ids is not None
    assert some.class_ids == images.class_ids[1::2]

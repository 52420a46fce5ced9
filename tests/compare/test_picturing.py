"""Pictures are kept once, and again when they would be others."""

from pathlib import Path

import pytest
from PIL import Image

from compare.comparison import Comparison
from compare.images import Images
from compare.picturing import keep_pictures
from compare.thumbnails import FILE, Thumbnails
from tests.compare.conftest import made_up_comparison


def _images(folder: Path, comparison: Comparison) -> Images:
    files = tuple(folder / name for name in comparison.names)
    for file in files:
        Image.new("RGB", (4, 4)).save(file)
    files[0].write_bytes(b"no image")
    return Images(
        data_name="x",
        source="x",
        digest="d",
        available=len(files),
        names=comparison.names,
        files=files,
        class_ids=None,
    )


def test_they_are_made_of_all_that_can_be_read_and_only_once(tmp_path: Path) -> None:
    comparison = made_up_comparison(8)
    images = _images(tmp_path, comparison)

    keep_pictures(tmp_path, images, comparison, seen={})

    kept = Thumbnails.load(tmp_path)
    assert kept is not None
    assert set(kept.names) == set(images.names[1:])
    before = (tmp_path / FILE).stat().st_mtime_ns
    keep_pictures(tmp_path, images, comparison, seen={})
    assert (tmp_path / FILE).stat().st_mtime_ns == before


def test_more_images_have_more_pictures(tmp_path: Path) -> None:
    few, all_of_them = made_up_comparison(3), made_up_comparison(8)
    images = _images(tmp_path, all_of_them)
    keep_pictures(tmp_path, images.only(few.names), few, seen={})

    keep_pictures(tmp_path, images, all_of_them, seen={})

    kept = Thumbnails.load(tmp_path)
    assert kept is not None
    assert len(kept.names) == 7


@pytest.mark.parametrize("labelled", [True, False])
def test_what_the_report_lacks_of_files_that_are_away_is_told(
    labelled: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    comparison = made_up_comparison(8, labelled=labelled)
    images = _images(tmp_path, comparison)
    data = images.files[3].read_bytes()
    images.files[3].unlink()

    keep_pictures(tmp_path, images, comparison, seen={})
    assert "the files of 1 image are away" in caplog.text

    images.files[3].write_bytes(data)
    caplog.clear()
    keep_pictures(tmp_path, images, comparison, seen={})
    assert not caplog.records
    kept = Thumbnails.load(tmp_path)
    assert kept is not None
    assert set(kept.names) == set(images.names[1:])


def test_a_file_that_is_away_and_not_compared_is_not_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    all_of_them, few = made_up_comparison(8), made_up_comparison(3)
    images = _images(tmp_path, all_of_them)
    images.files[5].unlink()

    keep_pictures(tmp_path, images, few, seen={})

    assert not caplog.records


def test_pictures_that_a_kill_left_unmade_are_missed_when_the_files_are_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    comparison = made_up_comparison(8)
    images = _images(tmp_path, comparison)
    keep_pictures(tmp_path, images, comparison, seen={})
    (tmp_path / FILE).unlink()
    images.files[3].unlink()

    keep_pictures(tmp_path, images, comparison, seen={})

    assert "the files of 1 image are away" in caplog.text

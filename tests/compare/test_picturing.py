"""Pictures are kept once, and again when they would be others."""

from pathlib import Path

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

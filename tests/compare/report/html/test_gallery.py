"""The gallery's columns say what the comparison says."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compare.collect.images import Images
from compare.report.html.gallery import (
    FILE,
    GROUND,
    PARTS,
    TILE,
    TILES_ACROSS,
    Thumbnails,
    keep_pictures,
    make_gallery,
    make_thumbnails,
    sprite_sheets,
)
from compare.results.comparison import Comparison
from compare.results.image_order import showing_order
from tests.compare.conftest import made_up_comparison


def _thumbnails(folder: Path, names: list[str]) -> Thumbnails:
    for name in names:
        Image.new("RGB", (64, 64), "green").save(folder / name)
    return make_thumbnails(names, [folder / name for name in names])


def test_columns_hold_both_lists_of_every_image(comparison: Comparison) -> None:
    data = json.loads(json.dumps(make_gallery(comparison, None).data))

    count = len(comparison.names)
    assert data["name"] == list(comparison.names)
    assert data["target"] == comparison.targets.tolist()
    for side, top in (("a", comparison.a), ("b", comparison.b)):
        indices = np.array(data[f"{side}_index"]).reshape(count, 5)
        parts = np.array(data[f"{side}_parts"]).reshape(count, 5)
        assert (indices == top.indices).all()
        # They are rounded to whole parts.
        np.testing.assert_allclose(parts / PARTS, top.probabilities, atol=0.5 / PARTS)
    names = [data["categories"][code] for code in data["category"]]
    assert names == comparison.categories()


def test_of_many_images_the_most_telling_stay(comparison: Comparison) -> None:
    gallery = make_gallery(comparison, None, most=30)

    kept = {comparison.names[row] for row in showing_order(comparison)[:30]}
    assert set(gallery.data["name"]) == kept
    assert gallery.data["left_out"] == len(comparison.names) - 30


def test_images_know_their_tiles_in_the_sheets(tmp_path: Path) -> None:
    comparison = made_up_comparison(300)
    pictured = [comparison.names[place] for place in range(299, 30, -1)]

    gallery = make_gallery(comparison, _thumbnails(tmp_path, pictured))

    assert len(gallery.sheets) == 2
    assert base64.b64decode(gallery.sheets[0]).startswith(b"\xff\xd8\xff")
    tile_of = dict(zip(gallery.data["name"], gallery.data["tile_of"], strict=True))
    assert [tile_of[name] for name in pictured] == list(range(len(pictured)))
    assert tile_of[comparison.names[0]] == -1


def test_fewer_classes_than_five_leave_places_empty() -> None:
    comparison = made_up_comparison(3)
    comparison.a.indices[:, 3:] = -1
    comparison.a.probabilities[:, 3:] = np.nan

    data = make_gallery(comparison, None).data

    assert data["a_index"][3:5] == [-1, -1]
    assert data["a_parts"][3:5] == [0, 0]


def _file(folder: Path, name: str, size: tuple[int, int], colour: str) -> Path:
    Image.new("RGB", size, colour).save(folder / name, quality=90)
    return folder / name


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_a_jpeg_of_the_tiles_size_stays_as_it_is(tmp_path: Path) -> None:
    file = _file(tmp_path, "x.jpg", (64, 64), "red")

    assert make_thumbnails(["x"], [file]).tiles == (file.read_bytes(),)


@pytest.mark.parametrize(
    ("size", "inside", "outside"),
    [
        ((8, 8), (2, 2), None),
        ((300, 100), (32, 32), (5, 32)),
        ((1, 400), (32, 32), (32, 5)),
        ((40, 40), (2, 2), None),
    ],
)
def test_the_whole_image_stands_in_a_square(
    tmp_path: Path,
    size: tuple[int, int],
    inside: tuple[int, int],
    outside: tuple[int, int] | None,
) -> None:
    file = _file(tmp_path, "x.png", size, "blue")

    pixels = _pixels(make_thumbnails(["x"], [file]).tiles[0])

    assert pixels.shape == (TILE, TILE, 3)
    assert pixels[inside][2] > 100
    if outside is not None:  # JPEG's colours are not exact
        assert abs(pixels[outside] - GROUND).max() < 12


def test_pixels_of_tiny_images_stay_pixels(tmp_path: Path) -> None:
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 255
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "x.png")

    pixels = _pixels(make_thumbnails(["x"], [tmp_path / "x.png"]).tiles[0])

    assert abs(pixels[4::8, 4::8, 0] - checks).max() < 12


def test_a_file_that_cannot_be_read_has_no_thumbnail(tmp_path: Path) -> None:
    good = _file(tmp_path, "good.png", (9, 9), "red")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    files = [tmp_path / "bad.png", tmp_path / "absent.png", good]

    assert make_thumbnails(["bad", "absent", "good"], files).names == ("good",)


def test_only_as_many_as_wanted_are_made(tmp_path: Path) -> None:
    file = _file(tmp_path, "x.png", (9, 9), "red")

    assert make_thumbnails(["a", "b", "c"], [file] * 3, most=2).names == ("a", "b")


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    file = _file(tmp_path, "x.png", (9, 9), "red")
    made = make_thumbnails(["é <b>", "x"], [file, file])

    made.save(tmp_path)

    assert Thumbnails.load(tmp_path) == made
    assert Thumbnails.load(tmp_path / "elsewhere") is None


def test_nothing_can_be_kept_too(tmp_path: Path) -> None:
    Thumbnails((), ()).save(tmp_path)

    assert Thumbnails.load(tmp_path) == Thumbnails((), ())
    assert sprite_sheets(()) == []


def test_tiles_stand_in_sheets_row_by_row(tmp_path: Path) -> None:
    colours = ["red", "green", "blue"]
    files = [_file(tmp_path, f"{n}.png", (64, 64), colours[n % 3]) for n in range(300)]
    made = make_thumbnails(map(str, range(300)), files)

    sheets = [_pixels(sheet) for sheet in sprite_sheets(made.tiles)]

    assert [sheet.shape[:2] for sheet in sheets] == [(1024, 1024), (192, 1024)]
    for number in (0, 1, 17, 255, 256, 299):
        row, column = divmod(number % 256, TILES_ACROSS)
        middle = sheets[number // 256][64 * row + 32, 64 * column + 32]
        tile = _pixels(made.tiles[number])[32, 32]
        assert abs(middle - tile).max() < 12


def test_a_tile_that_is_cut_off_leaves_grey(tmp_path: Path) -> None:
    whole = _file(tmp_path, "x.jpg", (64, 64), "red").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:-20])
    made = make_thumbnails(["cut", "x"], [tmp_path / "cut.jpg", tmp_path / "x.jpg"])

    (sheet,) = sprite_sheets(made.tiles)

    assert abs(_pixels(sheet)[32, 32] - GROUND).max() < 12
    assert abs(_pixels(sheet)[32, 96] - _pixels(whole)[32, 32]).max() < 12


def test_sheets_keep_to_their_size_by_quality_then_by_number() -> None:
    rng = np.random.default_rng(0)
    tiles = []
    for _ in range(512):
        buffer = io.BytesIO()
        noise = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(buffer, "JPEG")
        tiles.append(buffer.getvalue())
    full = sum(map(len, sprite_sheets(tiles, most_bytes=10**9)))

    for share, sheets in ((0.9, 2), (0.4, 1), (0.01, 0)):
        made = sprite_sheets(tiles, most_bytes=int(share * full))
        assert len(made) == sheets
        assert sum(map(len, made)) <= share * full


def test_a_damaged_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "thumbnails.parquet").write_bytes(b"")

    assert Thumbnails.load(tmp_path) is None


def test_a_photo_of_a_phone_has_its_picture(tmp_path: Path) -> None:
    """Training takes up to 100 megapixels, and so do the pictures of what it took."""
    file = _file(tmp_path, "x.png", (8000, 6000), "blue")

    assert make_thumbnails(["x"], [file]).names == ("x",)
    assert make_thumbnails(["x"], [file], max_megapixels=47).names == ()


def test_a_tile_that_xmp_turns_is_turned(tmp_path: Path) -> None:
    """A browser would show it as it lies."""
    file = tmp_path / "x.jpg"
    image = Image.new("RGB", (64, 64), "red")
    image.paste("blue", (0, 0, 64, 32))
    image.save(file, quality=95, xmp=b'<x tiff:Orientation="3"/>')

    pixels = _pixels(make_thumbnails(["x"], [file]).tiles[0])

    assert pixels[2, 32][0] > 200
    assert pixels[61, 32][2] > 200


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
    assert "the files of 1 image cannot be read" in caplog.text

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

    assert "the files of 1 image cannot be read" in caplog.text

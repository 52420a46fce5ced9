"""Small pictures: kept, found again, and packed into sheets."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compare.thumbnails import (
    GROUND,
    TILE,
    TILES_ACROSS,
    Thumbnails,
    make_thumbnails,
    sprite_sheets,
)


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

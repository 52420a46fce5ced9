"""Files that take a decoder too long are refused, ordinary ones are not."""

import struct
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from classifier.images.decoding import UndecodableImage, decode_image, extra_seconds
from classifier.images.decoding_cost import Format, format_of
from tests.classifier.costly_files import (
    COSTLY,
    after_start,
    chunk,
    repeated_frames,
    repeated_scans,
    segment,
    with_chunks,
)
from tests.conftest import encoded, picture


@pytest.mark.parametrize("what", COSTLY)
def test_a_file_that_decodes_too_long_is_refused_by_its_structure(what: str) -> None:
    with pytest.raises(UndecodableImage, match=f"file has [0-9,]+ {what}"):
        decode_image(COSTLY[what])


def _with_thumbnail() -> bytes:
    """A hundred thumbnails as cameras embed them; their scans are not the photo's."""
    thumbnail = encoded(picture(), progressive=True)
    return after_start(encoded(picture()), segment(0xE2, thumbnail) * 100)


def _with_icc() -> bytes:
    return encoded(picture(), "PNG", icc_profile=bytes(3_000))


ORDINARY = {
    "progressive JPEG": encoded(picture(200, 300), progressive=True),
    "progressive JPEG in four colours": encoded(
        picture(200, 300).convert("CMYK"), progressive=True
    ),
    "JPEG with restarts": encoded(picture(200, 300), restart_marker_blocks=1),
    "JPEG with thumbnails": _with_thumbnail(),
    "JPEG before a video": encoded(picture()) + b"\xff\xda\0\x08" * 1_000,
    "JPEG of 90 scans": repeated_scans(80),
    "PNG of 8,192 chunks": with_chunks(chunk(b"tEXt", b"a\0b") * 8_192),
    "PNG with a profile": _with_icc(),
    "interlaced APNG": encoded(
        picture(), "PNG", save_all=True, append_images=[picture(seed=1)]
    ),
    "GIF with a comment": encoded(picture(), "GIF", comment=b"x" * 5_000),
    "animated WebP": encoded(
        picture(), "WEBP", save_all=True, append_images=[picture(seed=1)]
    ),
    "animated AVIF": encoded(
        picture(), "AVIF", save_all=True, append_images=[picture(seed=1)]
    ),
    "AVIF with transparency": encoded(picture().convert("RGBA"), "AVIF"),
    "AVIF of two layers": repeated_frames(2),
    **{
        f"TIFF {how}": encoded(picture(300, 400), "TIFF", compression=how)
        for how in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "zstd")
    },
    "TIFF of two pages": encoded(
        picture(), "TIFF", save_all=True, append_images=[picture(seed=1)]
    ),
    "large TIFF": encoded(picture(), "TIFF", big_tiff=True),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_file_takes_the_time_of_its_pixels(kind: str) -> None:
    data = ORDINARY[kind]
    form = format_of(data)
    assert form is not None

    assert decode_image(data).ndim == 3
    # More than half of the limit: 8,192 chunks, and 90 scans of a megapixel.
    assert extra_seconds(data, form, max_pixels=25_000_000) < 0.12


def test_the_largest_images_may_take_longest() -> None:
    """Ten scans of 48 megapixels are normal for a photo, but not for a thumbnail."""
    data = bytearray(repeated_scans(20, side=64))
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 6_000, 8_000)

    assert extra_seconds(bytes(data), "JPEG", max_pixels=100_000_000) > 1
    with pytest.raises(UndecodableImage, match="30 scans"):
        extra_seconds(bytes(data), "JPEG", max_pixels=25_000_000)


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_the_structure_of_a_damaged_file_is_read_without_a_fault(kind: Format) -> None:
    random = np.random.default_rng(1)
    whole = np.frombuffer(encoded(picture(), kind), np.uint8)

    for _ in range(2_000):
        mutant = whole.copy()
        places = random.integers(8, min(400, len(mutant)), 3)
        mutant[places] = random.integers(0, 256, 3)
        data = mutant[: random.integers(8, len(mutant))].tobytes()
        with suppress(UndecodableImage):
            assert extra_seconds(data, kind, max_pixels=25_000_000) >= 0


def test_a_heic_photo_is_not_supported() -> None:
    assert format_of(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic") is None
    assert format_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif") == "AVIF"
    assert format_of(encoded(Image.new("L", (4, 4)), "PPM")) is None

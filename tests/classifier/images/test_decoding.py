"""Decoding: every format, every oddity, and files that are no images."""

import contextlib
import random
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps, features
from PIL.PngImagePlugin import PngInfo

from classifier.bundle.preprocessing import Preprocessing
from classifier.images.decoding import (
    ImageTooLarge,
    UndecodableImage,
    decode_image,
    is_image,
)
from classifier.images.resizing import Resizing
from tests.conftest import encoded, picture


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF"])
def test_every_format_decodes_to_the_same_image(kind: str) -> None:
    image = picture()
    options = {"lossless": True} if kind == "WEBP" else {}
    assert features.check("avif")  # it comes with Pillow
    data = encoded(image, kind, **options)

    decoded = decode_image(data)

    assert is_image(data)
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_has_the_pixels_that_pillow_gives(subsampling: int) -> None:
    data = encoded(picture(), quality=90, subsampling=subsampling)

    decoded = decode_image(data)

    expected = np.asarray(Image.open(BytesIO(data)))
    # Both are libjpeg-turbo; two releases of it may round one step apart.
    assert np.abs(decoded.astype(int) - expected).max() <= 1


def test_grey_jpeg_becomes_rgb() -> None:
    decoded = decode_image(encoded(picture().convert("L")))

    assert decoded.shape == (24, 32, 3)
    assert (decoded[..., 0] == decoded[..., 2]).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_images_are_turned_upright_by_their_exif_orientation(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    image = picture(24, 32)

    decoded = decode_image(encoded(image, kind, exif=exif, quality=95))

    upright = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    assert decoded.shape == upright.shape == (32, 24, 3)
    # lossy formats: the mean of what is lost is a few steps of 255
    assert np.abs(decoded.astype(int) - upright).mean() < 8


def _xmp(orientation: int) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def _in_xmp(image: Image.Image, kind: str, orientation: int) -> bytes:
    """With the orientation in XMP alone."""
    xmp = _xmp(orientation)
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return encoded(image, kind, pnginfo=info)
    if kind == "TIFF":
        return encoded(image, kind, tiffinfo={700: xmp})
    return encoded(image, kind, xmp=xmp, quality=95)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_in_xmp_alone_turns_an_image_as_pillow_does(
    kind: str, orientation: int
) -> None:
    data = _in_xmp(picture(24, 32), kind, orientation)
    assert is_image(data)

    decoded = decode_image(data)

    with Image.open(BytesIO(data)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.shape[:2] == ((32, 24) if orientation == 6 else (24, 32))


def test_exif_wins_over_xmp() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(24, 32), exif=exif, xmp=_xmp(3))

    assert decode_image(data).shape == (32, 24, 3)


def test_cmyk_jpeg_becomes_rgb() -> None:
    image = picture()

    decoded = decode_image(encoded(image.convert("CMYK"), quality=95))

    assert np.abs(decoded.astype(int) - np.asarray(image)).mean() < 8


def test_16_bit_grey_keeps_its_upper_byte_instead_of_turning_white() -> None:
    values = np.array([[0, 256 * 77, 65535]], np.uint16)

    decoded = decode_image(encoded(Image.fromarray(values), "PNG"))

    assert decoded[0, :, 0].tolist() == [0, 77, 255]


def test_transparency_is_dropped() -> None:
    image = picture().convert("RGBA")
    image.putalpha(0)

    decoded = decode_image(encoded(image, "PNG"))

    np.testing.assert_array_equal(decoded, np.asarray(picture()))


def test_a_palette_with_transparency_decodes_without_a_warning() -> None:
    image = picture().convert("P")

    decoded = decode_image(encoded(image, "PNG", transparency=b"\x00\x80" * 20))

    np.testing.assert_array_equal(decoded, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 10_000), (10_000, 1)])
def test_extreme_shapes_are_resized_to_the_versions_size(
    height: int, width: int
) -> None:
    image = Preprocessing(16, 12).image(encoded(picture(height, width), "PNG"))

    assert image.shape == (16, 12, 3)


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255

    small = Resizing(8, 8)(stripes)

    # without antialiasing it would be all black or all white
    assert 120 <= small.min() <= small.max() <= 135


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\xff\xd8\xff", encoded(picture())[:200], b"GIF89a", b"BM"],
)
def test_what_is_no_image_is_refused_with_a_remedy(data: bytes) -> None:
    with pytest.raises(UndecodableImage, match="send a whole JPEG"):
        decode_image(data)


def test_formats_outside_the_list_are_refused() -> None:
    data = encoded(picture(), "PPM")

    assert not is_image(data)
    with pytest.raises(UndecodableImage):
        decode_image(data)


def test_too_many_pixels_are_seen_before_decoding() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    for side in (5_001, 9_500, 50_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        pixels = zlib.compress(b"")
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)

        with pytest.raises(ImageTooLarge, match=r"limit is 25 \(--max-megapixels\)"):
            decode_image(bomb)


def test_a_large_jpeg_is_refused_by_its_header() -> None:
    data = bytearray(encoded(picture()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 6000, 6000)

    with pytest.raises(ImageTooLarge):
        decode_image(bytes(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_limit_of_pixels_is_whoever_decodes_to_set(kind: str) -> None:
    data = encoded(Image.new("RGB", (7_000, 4_000)), kind)

    assert decode_image(data, max_megapixels=28).shape == (4_000, 7_000, 3)
    with pytest.raises(
        ImageTooLarge, match=r"28\.0 megapixels, and the limit is 27\.9"
    ):
        decode_image(data, max_megapixels=27.9)


def test_images_beyond_what_pillow_warns_about_decode() -> None:
    data = encoded(Image.new("L", (10_000, 10_000)), "PNG")

    assert Preprocessing(8, 8).image(data, max_megapixels=100).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged tags
def test_damaged_files_decode_or_are_refused_and_nothing_else(kind: str) -> None:
    rng = random.Random(kind)
    whole = encoded(picture(), kind)

    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged = bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        with contextlib.suppress(UndecodableImage, ImageTooLarge):
            assert decode_image(damaged).ndim == 3

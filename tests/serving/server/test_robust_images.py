"""A live service and images of every kind, whole, damaged and hostile: its answer is
what the network says about the image as training decodes it, or why there is none."""

import base64
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import onnxruntime
import orjson
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifier.bundle.preprocessing import Preprocessing
from classifier.images.decoding import ImageTooLarge, UndecodableImage
from classifier.metrics import softmax
from tests.classifier.costly_files import COSTLY
from tests.conftest import RunningService, Store, encoded, picture
from tests.serving.load import Answer, ask

CLASSES = 10
TARGET = f"/predict?version=v2&top_k={CLASSES}"

IMAGES_A_REQUEST = 100

Probabilities = NDArray[np.float64]


class Direct:
    """The answer of version 2, computed without the service."""

    def __init__(self, store: Store) -> None:
        bundle = store.bundle("v2")
        self._preprocessing: Preprocessing = bundle.preprocessing
        self._session = onnxruntime.InferenceSession(
            str(bundle.graph), providers=["CPUExecutionProvider"]
        )

    def answer(self, data: bytes) -> Probabilities | str:
        """Of each class [K]; or the code of the error."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, about what is damaged
                image = self._preprocessing.image(data)
        except UndecodableImage:
            return "undecodable_image"
        except ImageTooLarge:
            return "image_too_large"
        (logits,) = self._session.run(["logits"], {"images": image[np.newaxis]})
        probabilities: Probabilities = softmax(logits)[0]
        return probabilities


@pytest.fixture(scope="module")
def direct(store: Store) -> Direct:
    return Direct(store)


def _check(answer: Answer, expected: Probabilities | str) -> None:
    if isinstance(expected, str):
        assert (answer.status, answer.code) == (400, expected)
        return
    assert answer.status == 200, answer.body
    (result,) = answer.json["results"]
    _check_top(result["top"], expected)


def _check_top(top: list[dict[str, float]], expected: Probabilities) -> None:
    found = {entry["index"]: entry["probability"] for entry in top}
    assert [found[k] for k in range(CLASSES)] == pytest.approx([*expected], abs=1e-5)


def _png(
    width: int, height: int, *, depth: int, color: int, rows: bytes, text: bytes = b""
) -> bytes:
    """By its chunks, whatever they claim; Pillow writes no such files."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if text:
        chunks.insert(1, (b"zTXt", b"note\0\0" + zlib.compress(text)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(), "JPEG", exif=exif)


def _grey16() -> bytes:
    ramp = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 80
    return encoded(Image.fromarray(ramp), "PNG")


def _rgb16() -> bytes:
    pixels = np.arange(8 * 8 * 3, dtype=">u2").reshape(8, -1) * 300
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return _png(8, 8, depth=16, color=2, rows=rows)


def _with_alpha() -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


KINDS = {
    "jpeg": encoded(picture()),
    "grey jpeg": encoded(picture().convert("L")),
    "cmyk jpeg": encoded(picture().convert("CMYK")),
    "progressive jpeg": encoded(picture(), "JPEG", progressive=True),
    **{f"jpeg turned {k}": _rotated(k) for k in range(1, 10)},
    "png": encoded(picture(), "PNG"),
    "png of one bit": encoded(picture().convert("1"), "PNG"),
    "png with a palette": encoded(picture().convert("P"), "PNG"),
    "png with a clear colour": encoded(picture().convert("P"), "PNG", transparency=3),
    "png with alpha": encoded(_with_alpha(), "PNG"),
    "grey png with alpha": encoded(_with_alpha().convert("LA"), "PNG"),
    "grey png of 16 bits": _grey16(),
    "png of 16 bits": _rgb16(),
    "webp": encoded(picture(), "WEBP"),
    "webp with alpha": encoded(_with_alpha(), "WEBP", lossless=True),
    "gif": encoded(picture(), "GIF"),
    "gif of two images": encoded(
        picture(), "GIF", save_all=True, append_images=[picture(seed=1)]
    ),
    "bmp": encoded(picture(), "BMP"),
    "tiff": encoded(picture(), "TIFF"),
    "avif": encoded(picture(), "AVIF"),
    "ppm, which nobody promised": encoded(picture(), "PPM"),
    "1 x 1": encoded(picture(1, 1), "PNG"),
    "1 x 1 jpeg": encoded(picture(1, 1)),
    "10,000 x 1": encoded(picture(1, 10_000), "PNG"),
    "1 x 10,000 jpeg": encoded(picture(10_000, 1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_seen_as_in_training(
    kind: str, service: RunningService, direct: Direct
) -> None:
    expected = direct.answer(KINDS[kind])

    answer = ask(service, "POST", TARGET, KINDS[kind], kind="image/x")

    _check(answer, expected)
    assert isinstance(expected, str) == (kind == "ppm, which nobody promised")


HOSTILE = {
    "20,000 x 20,000 in 100 bytes": _png(
        20_000, 20_000, depth=8, color=2, rows=b"\0" * 1000
    ),
    "20,000 x 20,000 pixels of 1 bit, whole": _png(
        20_000, 20_000, depth=1, color=0, rows=b"\0" * (20_000 * 2501)
    ),
    "the most there may be, and its rows missing": _png(
        5000, 5000, depth=8, color=2, rows=b"\0" * 1000
    ),
    "0 x 0": _png(0, 0, depth=8, color=2, rows=b""),
    "100 MB of text beside 1 x 1": _png(
        1, 1, depth=8, color=2, rows=bytes(4), text=bytes(100_000_000)
    ),
    "gif of 65,535 x 65,535": b"GIF89a" + b"\xff" * 4 + encoded(picture(), "GIF")[10:],
    "jpeg of 65,500 x 65,500": encoded(picture(251, 253)).replace(
        struct.pack(">HH", 251, 253), struct.pack(">HH", 65_500, 65_500), 1
    ),
    **COSTLY,
    "bmp of 2 billion x 1": encoded(picture(1, 1), "BMP").replace(
        struct.pack("<ii", 1, 1), struct.pack("<ii", 2**31 - 1, 1), 1
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bomb_is_refused(name: str, service: RunningService, direct: Direct) -> None:
    answer = ask(service, "POST", TARGET, HOSTILE[name])

    _check(answer, direct.answer(HOSTILE[name]))
    assert answer.status == 400
    assert ask(service, "GET", "/livez").status == 200


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.soak)])
def test_a_truncated_jpeg_is_seen_as_in_training(
    step: int, service: RunningService, direct: Direct
) -> None:
    whole = KINDS["jpeg"]

    for length in range(3, len(whole), step):  # shorter ones are no JPEG
        expected = direct.answer(whole[:length])

        _check(ask(service, "POST", TARGET, whole[:length]), expected)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("jpeg", 500),
        *[(k, 100) for k in ("jpeg turned 6", "png with a palette", "webp", "gif")],
        *[pytest.param(k, 3_000, marks=pytest.mark.soak) for k in KINDS],
    ],
)
def test_a_mutated_image_fails_alone_or_is_seen_as_in_training(
    kind: str, count: int, service: RunningService, direct: Direct
) -> None:
    mutants = _mutants(KINDS[kind], count)
    for images in zip(*[mutants] * IMAGES_A_REQUEST, strict=True):
        instances = [{"b64": base64.b64encode(image).decode()} for image in images]
        body = orjson.dumps({"instances": instances})

        answer = ask(service, "POST", TARGET, body, kind="application/json")

        assert answer.status == 200, answer.body
        for result, image in zip(answer.json["results"], images, strict=True):
            expected = direct.answer(image)
            if isinstance(expected, str):
                assert result["error"]["code"] == expected
            else:
                _check_top(result["top"], expected)


def _mutants(data: bytes, count: int) -> Iterator[bytes]:
    """One to four bytes of each are others; the first three stay."""
    random = np.random.default_rng(20_240_607)
    for _ in range(count):
        mutant = np.frombuffer(data, np.uint8).copy()
        places = random.integers(3, len(mutant), random.integers(1, 5))
        mutant[places] = random.integers(0, 256, len(places))
        yield mutant.tobytes()

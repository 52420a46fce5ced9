"""Images as the bodies of requests, in the forms that servers take."""

import base64
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from urllib3.filepost import encode_multipart_formdata

IMAGES = 64
IMAGES_A_REQUEST = 32


@dataclass(frozen=True)
class Bodies:
    """What is posted in turn, all of one content type."""

    contents: tuple[bytes, ...]
    content_type: str


Encoding = Callable[[Sequence[bytes]], Bodies]
"""JPEG files to as many bodies of one image."""


def raw(files: Sequence[bytes]) -> Bodies:
    return Bodies(tuple(files), "image/jpeg")


def multipart(field: str) -> Encoding:
    def encode(files: Sequence[bytes]) -> Bodies:
        boundary = "flipside-benchmark"
        forms = [
            encode_multipart_formdata(
                {field: (f"{number}.jpg", data, "image/jpeg")}, boundary
            )
            for number, data in enumerate(files)
        ]
        return Bodies(tuple(body for body, _ in forms), forms[0][1])

    return encode


def base64_json(document: Callable[[str], object]) -> Encoding:
    """`document` makes of an image's base64 what is sent as JSON."""
    return lambda files: _json(document(_base64(data)) for data in files)


def many_in_json(files: Sequence[bytes]) -> Bodies:
    """IMAGES_A_REQUEST files in each body, as our own service takes them."""
    return _json(
        {"instances": [{"b64": _base64(data)} for data in group]}
        for group in _groups(files)
    )


def many_in_npy(images: NDArray[np.uint8]) -> Bodies:
    """uint8 [N, H, W, 3], IMAGES_A_REQUEST of them in each body."""
    bodies = []
    for start in range(0, len(images), IMAGES_A_REQUEST):
        stream = io.BytesIO()
        np.save(stream, images[start : start + IMAGES_A_REQUEST])
        bodies.append(stream.getvalue())
    return Bodies(tuple(bodies), "application/x-npy")


def _groups(files: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [
        files[start : start + IMAGES_A_REQUEST]
        for start in range(0, len(files), IMAGES_A_REQUEST)
    ]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(documents: Iterable[object]) -> Bodies:
    contents = tuple(json.dumps(document).encode() for document in documents)
    return Bodies(contents, "application/json")

"""Tensors of the Open Inference Protocol, as JSON or as bytes after the JSON."""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.http.bodies import (
    MAX_IMAGES,
    BadRequest,
    BodyTooLarge,
    ImageArray,
    from_base64,
)

LENGTH = struct.Struct("<I")
"""Length prefix of each element of a BYTES tensor."""


def images_of(
    tensor: Mapping[str, Any],
    raw: memoryview | None,
    *,
    size: Callable[[], tuple[int, int]],
) -> list[bytes] | ImageArray:
    """The images of an input tensor; `raw` has its bytes after the JSON, or is None.

    `size` returns the height and width of decoded images and is called only if all else
    is valid. Raises BadRequest if shape, datatype and data disagree, or BodyTooLarge.
    """
    datatype, shape = tensor.get("datatype"), _shape(tensor.get("shape"))
    if (raw is None) == (tensor.get("data") is None):
        raise BadRequest(
            "the input 'images' needs either data, or binary_data_size and the bytes "
            "behind the JSON"
        )
    is_pixels = datatype == "UINT8" and len(shape) == 4 and shape[3] == 3
    if not is_pixels and (datatype, len(shape)) != ("BYTES", 1):
        raise _other_tensor(datatype, shape, takes="UINT8 [N, height, width, 3]")
    if shape[0] > MAX_IMAGES:
        raise BodyTooLarge(
            f"{shape[0]} images in one request; the limit is {MAX_IMAGES}, send several"
        )
    if not is_pixels:
        if raw is None:
            return _files(tensor["data"], shape[0])
        return _raw_files(raw, shape[0])
    height, width = size()
    if shape[1:3] != (height, width):
        raise _other_tensor(datatype, shape, takes=f"UINT8 [N, {height}, {width}, 3]")
    if raw is None:
        return ImageArray(_pixels(tensor["data"], shape))
    return ImageArray(_raw_pixels(raw, shape))


def _other_tensor(datatype: object, shape: tuple[int, ...], *, takes: str) -> Exception:
    return BadRequest(
        f"the input 'images' is {datatype!r:.20} {list(shape)!r:.80}; this version "
        f"takes {takes}, or BYTES [N] of encoded images"
    )


def _shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        raise BadRequest("the shape of the input 'images' is no list of whole numbers")
    if not shape or min(shape) < 1:
        raise BadRequest(
            f"the shape of the input 'images' is {shape!r:.80}; each side is 1 or more"
        )
    return tuple(shape)


def _raw_pixels(raw: memoryview, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if len(raw) != math.prod(shape):
        raise BadRequest(
            f"UINT8 {list(shape)} is {math.prod(shape):,} bytes, and {len(raw):,} came"
        )
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _pixels(data: object, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pixels from JSON numbers, flat or nested as in the shape."""
    # Checked before memory for the numbers is allocated.
    if not isinstance(data, list) or len(data) not in (shape[0], math.prod(shape)):
        came = f"a list of {len(data):,}" if isinstance(data, list) else "no list"
        raise BadRequest(
            f"the data of the input 'images' is {came}; send {list(shape)}, or "
            f"{math.prod(shape):,} numbers in one list"
        )
    # As objects: numpy would read "5" as a number, and allocate the longest string's
    # size for each element.
    values = np.array(data, dtype=object)
    if values.shape not in (shape, (math.prod(shape),)):
        raise BadRequest(
            f"the data of the input 'images' has shape {list(values.shape)}; send "
            f"{list(shape)}, or {math.prod(shape):,} numbers in one list"
        )
    numbers = values.ravel().tolist()
    # The type itself, as True and False are ints too.
    if {*map(type, numbers)} != {int} or min(numbers) < 0 or max(numbers) > 255:
        raise BadRequest(
            "the data of the input 'images' is not whole numbers from 0 to 255"
        )
    return np.array(numbers, np.uint8).reshape(shape)


def _raw_files(raw: memoryview, count: int) -> list[bytes]:
    """Elements, each after its length; no other bytes."""
    files: list[bytes] = []
    start = 0
    while len(files) < count and start + LENGTH.size <= len(raw):
        (length,) = LENGTH.unpack_from(raw, start)
        start += LENGTH.size
        files.append(bytes(raw[start : start + length]))
        start += length
    if len(files) != count or start != len(raw):
        raise BadRequest(
            f"the {len(raw):,} bytes of the input 'images' are not {count} elements, "
            "each after its length in 4 bytes, little-endian"
        )
    return files


def _files(data: object, count: int) -> list[bytes]:
    """Image files from base64, as JSON has no bytes."""
    if not isinstance(data, list) or len(data) != count:
        raise BadRequest(f"the data of the input 'images' is no list of {count} texts")
    try:
        return [from_base64(text) for text in data]
    except (TypeError, ValueError) as error:
        raise BadRequest(
            f"the data of the input 'images' is not base64: {error!s:.200}; a BYTES "
            f"tensor in JSON is a list of base64 texts"
        ) from error


@dataclass(frozen=True)
class OutputTensor:
    """A tensor of a response."""

    name: str
    values: NDArray[np.float32] | list[list[str]]
    """FP32, or BYTES of rows of equal length."""

    is_binary: bool

    def described(self) -> dict[str, Any]:
        if isinstance(self.values, list):
            shape: Sequence[int] = (len(self.values), len(self.values[0]))
            return {"name": self.name, "datatype": "BYTES", "shape": shape}
        return {"name": self.name, "datatype": "FP32", "shape": self.values.shape}

    def flat(self) -> NDArray[np.float32] | list[str]:
        if isinstance(self.values, list):
            return [text for row in self.values for text in row]
        return self.values.ravel()

    def raw(self) -> bytes:
        if not isinstance(self.values, list):
            return self.values.astype("<f4").tobytes()
        texts = [text.encode() for text in self.flat()]
        return b"".join(LENGTH.pack(len(text)) + text for text in texts)


def encode(
    head: Mapping[str, Any], outputs: Sequence[OutputTensor]
) -> tuple[bytes, int | None]:
    """A response's body, and the number of its JSON bytes if tensors follow."""
    described, tail = [], []
    for output in outputs:
        entry = output.described()
        if output.is_binary:
            tail.append(output.raw())
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            entry["data"] = output.flat()
        described.append(entry)
    document = {**head, "outputs": described}
    json = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((json, *tail)), len(json) if tail else None

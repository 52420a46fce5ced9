"""The header of a safetensors file, checked: place and number type of each tensor.

A file has 8 bytes of little-endian length, a JSON object, and the tensors one after the
other; offsets count from the end of the JSON (github.com/huggingface/safetensors,
"Format").
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.bundle.strict_json import fields_of, integer, one_of, parse_json

LONGEST_HEADER = 16 * 2**20
"""ResNet-18's takes 12 kB; the library itself stops at 100 MB."""

MOST_DIMENSIONS = 32

ITEM_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of a number, by the format's name of its type."""


@dataclass(frozen=True)
class TensorPlace:
    """Place of a tensor's bytes in the file, and their number type."""

    offset: int
    length: int
    dtype: str
    """The format's name: F32, I64 …"""


@dataclass(frozen=True)
class SafetensorsHeader:
    text: bytes
    """The JSON as it is in the file."""

    places: Mapping[str, TensorPlace]


def read_header(path: Path) -> SafetensorsHeader:
    """Raises ValueError; its message goes on from the file's name."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            raise ValueError(f"is cut off: {size:,} bytes")
        if length > LONGEST_HEADER:
            raise ValueError(f"has a header of {length:,} bytes, which is too long")
        text = file.read(length)
    try:
        places = _places(text)
    except ValueError as error:
        raise ValueError(f"has a broken header: {error}") from error
    end = 8 + length + sum(place.length for place in places.values())
    if end != size:
        raise ValueError(f"has {size:,} bytes; its header needs {end:,}")
    return SafetensorsHeader(text, places)


def _places(text: bytes) -> dict[str, TensorPlace]:
    header = parse_json(text)
    if not isinstance(header, dict):
        raise ValueError(f"it is no object: {header!r:.80}")
    header.pop("__metadata__", None)
    end = 8 + len(text)
    places = {name: _place(name, entry, end) for name, entry in header.items()}
    for place in sorted(places.values(), key=lambda p: (p.offset, p.length)):
        if place.offset != end:
            raise ValueError("tensors overlap, or leave a gap between them")
        end += place.length
    return places


def _place(name: str, entry: Any, start: int) -> TensorPlace:
    fields = fields_of(entry, ("dtype", "shape", "data_offsets"))
    dtype = one_of(fields["dtype"], f"the dtype of {name!r:.80}", ITEM_BYTES)
    shape = _whole_numbers(fields["shape"], f"the shape of {name!r:.80}")
    offsets = _whole_numbers(fields["data_offsets"], f"the offsets of {name!r:.80}")
    if len(offsets) != 2:
        raise ValueError(f"the offsets of {name!r:.80} are no begin and end")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"the offsets of {name!r:.80} do not fit its shape")
    return TensorPlace(offset=start + begin, length=end - begin, dtype=dtype)


def _whole_numbers(found: Any, name: str) -> list[int]:
    if not isinstance(found, list) or len(found) > MOST_DIMENSIONS:
        raise ValueError(f"{name} must be a list of numbers, got {found!r:.80}")
    return [integer(value, name, least=0, most=2**63) for value in found]

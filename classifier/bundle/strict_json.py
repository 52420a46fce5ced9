"""JSON from untrusted files, read strictly and checked field by field."""

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

LONGEST_TEXT = 1_000
"""Characters; longer than a file name on any file system."""


def parse_json(data: bytes) -> Any:
    """Raises ValueError for anything that RFC 8259 does not allow or leaves open.

    That is NaN and Infinity, a repeated key, a number beyond float64, half of a
    surrogate pair (no answer with one could be encoded), and too deep nesting.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def fields_of(
    found: Any, required: Collection[str], *, optional: Collection[str] = ()
) -> Mapping[str, Any]:
    """The object. Raises ValueError if a field is missing or unknown.

    An unknown field that is null counts as absent.
    """
    if not isinstance(found, dict):
        raise ValueError(f"an object is needed, got {_shown(found)}")
    missing = [name for name in required if name not in found]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing")
    known = {*required, *optional}
    unknown = [k for k, v in found.items() if k not in known and v is not None]
    if unknown:
        raise ValueError(
            f"{_shown(unknown[0])} is not known to this version of flipside, "
            f"which must not ignore it"
        )
    return found


def integer(value: Any, name: str, *, least: int, most: int) -> int:
    """Raises ValueError if it is no whole number in the range; `true` is none."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(
            f"{name} must be a whole number from {least:,} to {most:,}, "
            f"got {_shown(value)}"
        )
    return value


def number(value: Any, name: str) -> float:
    """Raises ValueError if it is no finite number; `true` is none."""
    if type(value) not in (int, float) or not abs(value) <= 1e9:
        raise ValueError(f"{name} must be a number, got {_shown(value)}")
    return float(value)


def string(value: Any, name: str) -> str:
    """Raises ValueError if it is no text or too long."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError(
            f"{name} must be text of at most {LONGEST_TEXT:,} characters, "
            f"got {_shown(value)}"
        )
    return value


def one_of(value: Any, name: str, known: Collection[str]) -> str:
    """Raises ValueError if it is none of `known`."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be {' or '.join(known)}, got {_shown(value)}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {_shown(twice)} stands twice in an object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is beyond what a float64 can hold")
    return value


def _shown(value: Any) -> str:
    """The value's beginning, because it may have any length."""
    return f"{value!r:.80}"

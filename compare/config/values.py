"""Values of flags: read from what was typed, and checked at once."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from classifier.store.versions import INT8
from compare.collect.images import Shard
from compare.collect.schema import PREDICTIONS_ENDS, is_file_name
from compare.results.gates import Gate, parse_gate

LONGEST_ALIAS = 255

JOB_INDEX = "JOB_COMPLETION_INDEX"
"""The variable that Kubernetes sets in each pod of an Indexed Job, from 0."""


def read_key(file: str) -> str:
    """The file's first line. ValueError if no header could carry it."""
    try:
        with Path(file).open(encoding="utf-8") as lines:
            key = lines.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"{file} cannot be read: {reason}") from error
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            f"{file}: the first line must be the key, of printable ASCII characters "
            "without spaces"
        )
    return key


def writable_file(text: str) -> Path:
    """ValueError at once, instead of when everything else is done."""
    file = Path(text)
    try:
        if not file.parent.is_dir():
            raise ValueError(f"there is no folder {file.parent}")
        if file.is_dir():
            raise ValueError(f"{file} is a folder; name a file")
    except OSError as error:  # a folder without permission, a name that is too long
        raise ValueError(f"{file}: {error.strerror}") from error
    return file


def read_export(text: str) -> tuple[str, Path]:
    """Side and file. ValueError if it cannot be written, or is of another form."""
    side, name = ("a", text[2:]) if text.startswith("a=") else ("b", text)
    file = writable_file(name)
    if not name.lower().endswith(PREDICTIONS_ENDS):
        raise ValueError(f"must end with {' or '.join(PREDICTIONS_ENDS)}, got {name!r}")
    return side, file


def margin_gate(text: str) -> Gate:
    try:
        margin = float(text)
    except ValueError:
        raise ValueError(f"must be a number, got {text!r}") from None
    if not 0 <= margin < 1:
        raise ValueError(f"must be 0 to 1, a fraction, got {margin}")
    return parse_gate(f"delta.low<{-margin!r}")


def read_shard(text: str) -> Shard:
    """`3/16`; of `auto/16` the environment has the index."""
    index, _, count = text.partition("/")
    if index == "auto":
        index = os.environ.get(JOB_INDEX, "")
        if not index:
            raise ValueError(
                f"{text} takes the index from {JOB_INDEX}, which is not set; name it, "
                "as in 0/16"
            )
    if not (index.isdecimal() and count.isdecimal()):
        raise ValueError(f"must be I/N, such as 0/16, or auto/16, got {text!r}")
    shard = Shard(int(index), int(count))
    if not 0 <= shard.index < shard.count:
        raise ValueError(
            f"there is no shard {shard}: those of {count} are 0/{count} to "
            f"{shard.count - 1}/{count}"
            if shard.count
            else "there must be one shard at least"
        )
    return shard


def check_service(url: str | None, patience: float) -> None:
    """ValueError if one of the two is wrong."""
    if url is not None and not re.match(r"https?://[^/]", url):
        raise ValueError(f"url must begin with http:// or https://, got {url!r}")
    if not (math.isfinite(patience) and patience >= 0):
        raise ValueError(f"patience must be 0 or more, got {patience}")


def check_promotable(alias: str, candidate: str, gates: Sequence[Gate]) -> None:
    """ValueError if the alias would move to an int8 form or without a gate."""
    if is_file_name(candidate):
        raise ValueError(
            f"--promote {alias} does not go with {candidate}: an alias names a version "
            "of the registry, and this is a file; leave --promote out"
        )
    if candidate.lower().endswith(INT8):
        raise ValueError(
            f"--promote {alias} does not go with {candidate}: an alias can "
            "name no int8 form; compare "
            f"{candidate[: -len(INT8)]}, or leave --promote out"
        )
    if not gates:
        raise ValueError(
            f"--promote {alias} needs a gate, as nothing else can stop it; "
            'add one, such as --non-inferior 0.005 or --fail-on "negative_flip_rate'
            '>0.06"'
        )


def check_alias(alias: str) -> None:
    """ValueError if the name means a version, or if MLflow refuses it."""
    if alias.lower() == "latest" or re.fullmatch(r"[vV]?\d+", alias):
        raise ValueError(
            f"--promote {alias!r} names a version, not an alias; take a word, such as "
            "champion"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", alias) or len(alias) > LONGEST_ALIAS:
        raise ValueError(
            f"--promote {alias[:40]!r} is no name for an alias; MLflow's are letters, "
            f"digits, _ and -, at most {LONGEST_ALIAS}"
        )

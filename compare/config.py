"""The settings of compare's three errands, from the command line."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS, check_max_megapixels
from classifier.store.versions import INT8
from compare.collect.local_service import BATCH_SIZE
from compare.command_line import NotAKey, Refusal, check_errand, new_parser, read_key
from compare.results.gates import Gate, UnknownGate, parse_gate

LONGEST_ALIAS = 255


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Who is compared, over what, and what would be unacceptable."""

    a: str
    """The baseline, what ships today: v8, best, latest."""

    b: str
    """The candidate."""

    url: str | None = None
    """A running service; None looks at port 8000, then starts one."""

    model: str | None = None
    data: str | None = None
    """`digits`, a folder or an archive; None is what the versions were trained on."""

    out: Path | None = None
    """None is compare-<a>-<b>, with the versions' numbers."""

    fresh: bool = False
    limit: int | None = None
    """Only so many validation images: a fixed sample, stratified by class."""

    gates: tuple[Gate, ...] = ()
    promote: str | None = None
    """The alias that becomes the candidate's when the verdict is pass."""

    show: int = 0
    allow_missing: int = 0
    concurrency: int = 2
    """Requests under way at once."""

    batch_size: int = BATCH_SIZE
    """Images in a request."""

    patience: float = 60.0
    """Seconds without any progress after which the service is given up."""

    key: str | None = field(default=None, repr=False)
    """Sent as `Authorization: Bearer`; a secret, so no log shows it."""

    no_mlflow: bool = False
    summary_md: Path | None = None
    """A second place for summary.md, such as a pull request's comment."""

    max_megapixels: float = OWN_FILES_MEGAPIXELS
    """For a service of our own, and for the report's pictures."""

    cache: Path | None = None

    def __post_init__(self) -> None:
        check_max_megapixels(self.max_megapixels)
        for name, least in (
            ("concurrency", 1),
            ("batch_size", 1),
            ("limit", 1),
            ("show", 0),
            ("allow_missing", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.batch_size > 256:
            raise ValueError(f"batch_size must be at most 256, got {self.batch_size}")
        if self.url is not None and not re.match(r"https?://[^/]", self.url):
            raise ValueError(
                f"url must begin with http:// or https://, got {self.url!r}"
            )
        if not (math.isfinite(self.patience) and self.patience >= 0):
            raise ValueError(f"patience must be 0 or more, got {self.patience}")
        if self.promote is not None:
            _check_alias(self.promote)
            _check_promotable(self.promote, self.b, self.gates)


@dataclass(frozen=True, kw_only=True)
class RedrawConfig:
    """Which folder's reports are drawn again, from what is kept in it."""

    folder: Path
    gates: tuple[Gate, ...] | None = None
    """None is those that the comparison was made with."""

    show: int = 0
    summary_md: Path | None = None

    def __post_init__(self) -> None:
        if self.show < 0:
            raise ValueError(f"show must be at least 0, got {self.show}")


@dataclass(frozen=True, kw_only=True)
class MatrixConfig:
    """Which versions are set side by side, each with each."""

    versions: str
    """`v1..v16`, or a list: `v1,v4,v8`."""

    model: str | None = None
    out: Path | None = None


Errand = CompareConfig | RedrawConfig | MatrixConfig


def parse_arguments(arguments: list[str]) -> Errand:
    """Exits with 2 and a message on wrong usage, as argparse does."""
    parser = new_parser()
    given = vars(parser.parse_args(arguments))
    try:
        check_errand(given)
        return _errand(given)
    except (ValueError, UnknownGate, Refusal, NotAKey) as error:
        parser.error(str(error))


def _errand(given: dict[str, Any]) -> Errand:
    if {"matrix", "from"} & set(given):
        given.pop("no_mlflow", None)  # they log nothing anyway
    if "matrix" in given:
        return MatrixConfig(versions=given.pop("matrix"), **given)
    gates = _gates(given.pop("fail_on", []), given.pop("non_inferior", None))
    if (file := given.get("summary_md")) is not None:
        _check_summary_md(file)
    if "from" in given:
        return RedrawConfig(folder=given.pop("from"), gates=gates or None, **given)
    if "key" in given:
        given["key"] = read_key(given["key"])
    if "promote" in given:
        given["promote"] = given["promote"].removeprefix("@")
    return CompareConfig(gates=gates, **given)


def _check_summary_md(file: Path) -> None:
    """Refusal now, not when everything else is done."""
    try:
        if not file.parent.is_dir():
            raise Refusal(f"--summary-md {file}: there is no folder {file.parent}")
        if file.is_dir():
            raise Refusal(f"--summary-md {file} is a folder; name a file")
    except OSError as error:  # a folder that is closed to us, a name that is too long
        raise Refusal(f"--summary-md {file}: {error.strerror}") from error


def _gates(expressions: list[str], margin: float | None) -> tuple[Gate, ...]:
    if margin is not None:
        if not 0 <= margin < 1:
            raise Refusal(f"--non-inferior must be 0 to 1, a fraction, got {margin}")
        expressions = [*expressions, f"delta.low<{-margin!r}"]
    return tuple(parse_gate(expression) for expression in expressions)


def _check_promotable(alias: str, candidate: str, gates: Sequence[Gate]) -> None:
    """ValueError where an alias would move to what nothing, or nobody, has tested."""
    if candidate.lower().endswith(INT8):
        raise ValueError(
            f"--promote {alias} does not go with {candidate}: an alias names a version "
            "and no int8 form, and the version would not be what was compared; compare "
            f"{candidate[: -len(INT8)]}, or leave --promote out"
        )
    if not gates:
        raise ValueError(
            f"--promote {alias} needs a gate, as without one nothing can speak against "
            'it; add one, such as --non-inferior 0.005 or --fail-on "negative_flip_rate'
            '>0.06"'
        )


def _check_alias(alias: str) -> None:
    """ValueError for a name that means something else, or that MLflow refuses."""
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

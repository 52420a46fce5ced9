"""The settings of a comparison, from the command line."""

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path

from compare.gates import Gate, UnknownGate, parse_gate


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
    """Only the first N validation images."""

    gates: tuple[Gate, ...] = ()
    show: int = 0
    allow_missing: int = 0
    concurrency: int = 2
    """Requests under way at once."""

    batch_size: int = 32
    """Images in a request."""

    patience: float = 60.0
    """Seconds without any progress after which the service is given up."""

    cache: Path | None = None

    def __post_init__(self) -> None:
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


def parse_arguments(arguments: list[str]) -> CompareConfig:
    """Exits with 2 and a message on wrong usage, as argparse does."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    expressions = given.pop("fail_on", [])
    margin = given.pop("non_inferior", None)
    if margin is not None:
        if not 0 <= margin < 1:
            parser.error(f"--non-inferior must be 0 to 1, a fraction, got {margin}")
        expressions = [*expressions, f"delta.low<{-margin!r}"]
    try:
        gates = tuple(parse_gate(expression) for expression in expressions)
        return CompareConfig(gates=gates, **given)
    except (ValueError, UnknownGate) as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compare",
        description="What changes for users if version B replaces version A?",
        # Only what was typed is handed on: the defaults are CompareConfig's.
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--a", required=True, metavar="VERSION", help="baseline: v8, best, latest")
    add("--b", required=True, metavar="VERSION", help="candidate")
    add("--url", help="a running service; default: port 8000, else one is started")
    add("--model", metavar="NAME", help="registered model")
    add("--data", metavar="PATH|digits", help="default: what the versions learnt on")
    add("--out", type=Path, metavar="FOLDER", help="default compare-vA-vB")
    add("--fresh", action="store_true", help="throw away what --out holds")
    add("--limit", type=int, metavar="N", help="only the first N images")
    add(
        "--fail-on",
        action="append",
        metavar="GATE",
        help='exit 1 if true, e.g. "negative_flip_rate>0.06"; repeatable',
    )
    add(
        "--non-inferior",
        type=float,
        metavar="MARGIN",
        help="exit 1 unless B is shown to be at most MARGIN (a fraction) worse",
    )
    add("--show", type=int, metavar="N", help="also print the first N images")
    add("--allow-missing", type=int, metavar="N", help="images that may go unanswered")
    add("--concurrency", type=int, metavar="N", help="requests at once; default 2")
    add("--batch-size", type=int, metavar="N", help="images a request; default 32")
    add("--patience", type=float, metavar="SECONDS", help="default 60")
    add("--cache", type=Path, metavar="FOLDER", help="default: one per user")
    return parser

"""The flags of `python -m compare`, and which of them go together."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REDRAWN_WITH = {"fail_on", "non_inferior", "show", "summary_md", "no_mlflow"}
MATRIX_WITH = {"model", "out", "no_mlflow"}


class Refusal(ValueError):
    """Flags that do not go together, or a value that none of them can have."""


class NotAKey(ValueError):
    """A file that holds no key."""


def check_errand(given: Mapping[str, Any]) -> None:
    """Refusal where the flags are not those of one of the three errands."""
    for errand, others in (("from", REDRAWN_WITH), ("matrix", MATRIX_WITH)):
        if errand in given and (wrong := sorted(set(given) - others - {errand})):
            raise Refusal(
                f"--{errand} does not go with {_flags(wrong)}; "
                f"it takes {_flags(sorted(others))}"
            )
    if not {"from", "matrix"} & set(given) and (lack := {"a", "b"} - set(given)):
        raise Refusal(
            f"{_flags(sorted(lack))} is missing; name the baseline with --a and the "
            "candidate with --b, or a folder to draw again with --from, or versions "
            "with --matrix"
        )


def read_key(file: Path) -> str:
    """The file's first line; NotAKey where there is none to be sent in a header."""
    try:
        with file.open(encoding="utf-8") as lines:
            key = lines.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise NotAKey(f"--key {file} cannot be read: {reason}") from error
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise NotAKey(
            f"--key {file}: the first line must be the key, of printable ASCII "
            "characters without spaces"
        )
    return key


def new_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compare",
        description="What changes for users if version B replaces version A?",
        # Only what was typed is handed on: the defaults are the settings' own.
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    _add_subject(parser.add_argument_group("what is compared"))
    _add_verdict(parser.add_argument_group("what follows from it"))
    _add_asking(parser.add_argument_group("how the service is asked"))
    other = parser.add_argument_group("instead of --a and --b").add_argument
    other("--from", type=Path, metavar="FOLDER", help="draw its reports again")
    other("--matrix", metavar="VERSIONS", help="all pairs: v1..v16, or v1,v4,v8")
    return parser


def _add_subject(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--a", metavar="VERSION", help="baseline: v8, best, latest")
    add("--b", metavar="VERSION", help="candidate")
    add("--model", metavar="NAME", help="registered model")
    add("--data", metavar="PATH|digits", help="default: what the versions learnt on")
    add("--limit", type=int, metavar="N", help="only N images, some of each class")
    add(
        "--max-megapixels",
        type=float,
        metavar="N",
        help="larger images count as unanswered, where no --url is given; default 100",
    )
    add("--out", type=Path, metavar="FOLDER", help="default compare-vA-vB")
    add("--fresh", action="store_true", help="throw away what --out holds")
    add("--cache", type=Path, metavar="FOLDER", help="default: one per user")


def _add_verdict(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
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
    add("--promote", metavar="ALIAS", help="move it to B if its gates pass")
    add("--show", type=int, metavar="N", help="also print the first N images by name")
    add("--summary-md", type=Path, metavar="FILE", help="summary.md here as well")
    add("--no-mlflow", action="store_true", help="log no run, tag no version")


def _add_asking(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--url", help="a running service; default: port 8000, else one is started")
    add("--key", type=Path, metavar="FILE", help="its first line is sent as the key")
    add("--allow-missing", type=int, metavar="N", help="images that may go unanswered")
    add("--concurrency", type=int, metavar="N", help="requests at once; default 2")
    add("--batch-size", type=int, metavar="N", help="images a request; default 64")
    add("--patience", type=float, metavar="SECONDS", help="default 60")


def _flags(names: list[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)

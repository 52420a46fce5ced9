"""The flags of `python -m compare`, and which of them go together."""

import argparse
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compare.results.gates import gate_names

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
        usage=_USAGE,
        description="What changes for users if version B replaces version A?",
        epilog=f"{_EXAMPLES}\n\n{_gates_text()}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Only what was typed is handed on: the defaults are the settings' own.
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    _add_subject(parser.add_argument_group("what is compared"))
    _add_verdict(parser.add_argument_group("what follows from it"))
    _add_asking(parser.add_argument_group("how the service is asked"))
    _add_others(parser.add_argument_group("instead of --a and --b"))
    return parser


_USAGE = """python -m compare --a VERSION --b VERSION [flags]
       python -m compare --from FOLDER [flags]
       python -m compare --matrix VERSIONS [flags]"""

_EXAMPLES = """examples:
  python -m compare --a v8 --b v16
  python -m compare --a best --b latest --url http://127.0.0.1:8000 --show 9
  python -m compare --a v8 --b v16 --fail-on "negative_flip_rate>0.06"
  python -m compare --a v8 --b v16 --non-inferior 0.005 --promote champion
  python -m compare --from compare-v8-v16 --summary-md comment.md
  python -m compare --matrix v1..v16"""

_EXIT_CODES = """exit codes: 0 done, and no gate tripped; 1 a gate tripped; 2 wrong
usage or bad data; 3 not now (store, service, disk) or not comparable; 4 a fault
of ours; 130 interrupted"""


def _gates_text() -> str:
    text = (
        "gates: PATH OP NUMBER trips when it is true; OP is > >= < or <=, PATH a "
        "number of summary.json, as a fraction. Intervals have .low and .high too. A "
        "leading top1. may be left out. A value that does not exist trips. The paths:"
    )
    names = textwrap.fill(
        ", ".join(gate_names()),
        width=86,
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    return f"{textwrap.fill(text, width=86)}\n{names}"


def _add_subject(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--a", metavar="VERSION", help="baseline: v8, best, latest")
    add("--b", metavar="VERSION", help="candidate")
    add("--model", metavar="NAME", help="registered model (default: the only one)")
    add(
        "--data",
        metavar="PATH|digits",
        help="labelled images (default: what the versions were trained on)",
    )
    add(
        "--limit",
        type=int,
        metavar="N",
        help="only N images, a fixed sample by class (default: all)",
    )
    add(
        "--max-megapixels",
        type=float,
        metavar="N",
        help="larger images count as unanswered, where no --url is given "
        "(default: 100)",
    )
    add(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="what is written (default: compare-vA-vB)",
    )
    add(
        "--fresh",
        action="store_true",
        help="throw away what --out holds (default: go on with it)",
    )
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="for unpacked archives (default: $XDG_CACHE_HOME/flipside, else "
        "~/.cache/flipside)",
    )


def _add_verdict(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--fail-on",
        action="append",
        metavar="GATE",
        help='exit 1 if true, e.g. "negative_flip_rate>0.06"; repeatable; see gates',
    )
    add(
        "--non-inferior",
        type=float,
        metavar="MARGIN",
        help="exit 1 unless B is shown to be at most MARGIN (a fraction) worse",
    )
    add("--promote", metavar="ALIAS", help="move it to B if every gate passes")
    add(
        "--show",
        type=int,
        metavar="N",
        help="also print the first N images by name (default: 0)",
    )
    add("--summary-md", type=Path, metavar="FILE", help="summary.md here as well")
    add(
        "--no-mlflow",
        action="store_true",
        help="log no run, tag no version (default: both, where there is a store)",
    )


def _add_asking(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--url",
        help="a running service (default: the one on port 8000, else one is started)",
    )
    add(
        "--key",
        type=Path,
        metavar="FILE",
        help="its first line is sent as the key (default: none)",
    )
    add(
        "--allow-missing",
        type=int,
        metavar="N",
        help="images that may go unanswered (default: 0)",
    )
    add(
        "--concurrency",
        type=int,
        metavar="N",
        help="requests at once (default: 2)",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="images in a request (default: 64)",
    )
    add(
        "--patience",
        type=float,
        metavar="SECONDS",
        help="without any progress, until the service is given up (default: 60)",
    )


def _add_others(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--from",
        type=Path,
        metavar="FOLDER",
        help="draw its reports again, without a service; logs nothing",
    )
    add("--matrix", metavar="VERSIONS", help="all pairs: v1..v16, or v1,v4,v8")


def _flags(names: list[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)

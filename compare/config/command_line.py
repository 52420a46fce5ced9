"""The command line of compare: its help, and the command that the flags ask for."""

import textwrap
from collections.abc import Sequence
from typing import Any

from classifier.console.flags import field_values, flag_names, new_parser
from compare.config.settings import (
    MANY,
    OTHERS,
    SERVICE,
    SUBJECT,
    VERDICT,
    CompareConfig,
    JoinConfig,
    MatrixConfig,
    RedrawConfig,
    ShadowConfig,
)
from compare.results.gates import gate_names

Errand = CompareConfig | RedrawConfig | JoinConfig | MatrixConfig | ShadowConfig

_NAMED: dict[str, type[RedrawConfig | JoinConfig | MatrixConfig | ShadowConfig]] = {
    "from": RedrawConfig,
    "join": JoinConfig,
    "matrix": MatrixConfig,
    "shadow": ShadowConfig,
}
"""The other commands, by the flag that stands for --a and --b."""

_USAGE = """python -m compare --a VERSION --b VERSION [flags]
       python -m compare --from FOLDER [flags]
       python -m compare --join FOLDER... [flags]
       python -m compare --matrix VERSIONS [flags]
       python -m compare --shadow URL [flags]"""

_EXAMPLES = """examples:
  python -m compare --a v8 --b v16
  python -m compare --a best --b latest --url http://127.0.0.1:8000 --show 9
  python -m compare --a v8 --b v16 --fail-on "negative_flip_rate>0.06"
  python -m compare --a v8 --b v16 --non-inferior 0.005 --promote champion
  python -m compare --from compare-v8-v16 --summary-md comment.md
  python -m compare --a v8 --b v16 --shard 3/16
  python -m compare --join compare-v8-v16 --non-inferior 0.005 --promote champion
  python -m compare --a v8 --b v16 --engine ray
  python -m compare --matrix v1..v16
  python -m compare --shadow http://127.0.0.1:8000"""

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


def parse_arguments(arguments: list[str]) -> Errand:
    """The command's settings. Wrong usage ends the program with 2 and a message."""
    parser = new_parser(
        "compare",
        (CompareConfig, *_NAMED.values()),
        groups=(SUBJECT, VERDICT, SERVICE, MANY, OTHERS),
        usage=_USAGE,
        description="What changes for users if version B replaces version A?",
        epilog=f"{_EXAMPLES}\n\n{_gates_text()}\n\n{_EXIT_CODES}",
    )
    typed = vars(parser.parse_args(arguments))
    name = next((name for name in _NAMED if name in typed), None)
    kind = CompareConfig if name is None else _NAMED[name]
    try:
        _check_flags(name, typed)
        return kind(**field_values(kind, typed))
    except ValueError as error:
        parser.error(str(error))


def _check_flags(name: str | None, typed: dict[str, Any]) -> None:
    """ValueError if the flags are not those of one command."""
    if name is None:
        if lack := sorted({"a", "b"} - set(typed)):
            raise ValueError(
                f"{_flags(lack)} is missing; name the baseline with --a and the "
                "candidate with --b, or a folder to draw again with --from, or "
                "shards with --join, versions with --matrix, a service with --shadow"
            )
        return
    # --no-mlflow changes nothing with --from and --shadow, which log nothing.
    others = (flag_names(_NAMED[name]) | {"no_mlflow"}) - {name}
    if wrong := sorted(set(typed) - others - {name}):
        raise ValueError(
            f"--{name} does not go with {_flags(wrong)}; it takes "
            f"{_flags(sorted(others))}"
        )


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)

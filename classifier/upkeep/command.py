"""Commands of `python -m classifier`: their flags, versions that they name, output.

Imports MLflow only to read a store, so that --help is answered at once.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from classifier.console.text import printable, printable_json
from classifier.store.versions import (
    Version,
    find_version,
    qualified,
    split_name,
    with_int8_forms,
)

if TYPE_CHECKING:
    from classifier.store.registry import Registry

ABSENT = "\N{EN DASH}"


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,
    examples: Sequence[str],
    exit_codes: str = "0 done; 2 wrong usage; 3 the store cannot be read",
) -> argparse.ArgumentParser:
    """Add a command with the flags --model and --json."""
    lines = "\n".join(f"  python -m classifier {example}" for example in examples)
    parser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=f"examples:\n{lines}\n\nexit codes: {exit_codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model", metavar="NAME", help="the registered model (default: the only one)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON document for programs"
    )
    parser.set_defaults(run=run)
    return parser


def open_registry() -> "Registry":
    from classifier.store.registry import Registry

    # MLflow's own bars run through each other where files are fetched side by side.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return Registry()


def find_versions(
    registry: "Registry", names: Sequence[str], *, model: str | None
) -> list[Version]:
    """The named versions, each once; each model of the registry is read once.

    Raises UnknownModel or UnknownVersion.
    """
    known: dict[str, list[Version]] = {}
    found: dict[tuple[str, str], Version] = {}
    for name in names:
        own, number = split_name(name)
        of_model = registry.model_name(own or model)
        if of_model not in known:
            known[of_model] = registry.versions(of_model)
        version = find_version(known[of_model], number, model=of_model)
        found.setdefault((version.model, version.number), version)
    return list(found.values())


def all_versions(registry: "Registry", *, model: str | None) -> list[Version]:
    """All versions of the model, each followed by its int8 form."""
    return with_int8_forms(registry.versions(registry.model_name(model)))


def shown_name(version: Version, *, is_qualified: bool) -> str:
    """`v8`, or `birds/v8` where versions of several models are meant."""
    name = f"v{version.number}"
    return qualified(version.model, name) if is_qualified else name


def print_json(document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False)
    print("\n".join(map(printable_json, text.split("\n"))))


def print_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Columns in the width of their longest cell; those of `right` end alike."""
    lines = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, line, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def print_sections(sections: Mapping[str, Mapping[str, str]]) -> None:
    """A heading for each section, and below it a line for each fact."""
    for place, (title, facts) in enumerate(sections.items()):
        if title:
            print(f"{chr(10) if place else ''}{printable(title)}")
        width = max((len(printable(name)) for name in facts), default=0)
        for name, fact in facts.items():
            print(f"  {printable(name).ljust(width)}  {printable(fact)}".rstrip())

"""`diff`: settings, data, libraries, code and network in which two versions differ."""

import argparse
from dataclasses import asdict

from classifier.console.text import printable
from classifier.store.provenance import (
    Difference,
    by_section,
    differences,
    read_provenance,
)
from classifier.store.versions import Version
from classifier.upkeep.command import (
    add_command,
    find_versions,
    open_registry,
    print_json,
    print_sections,
    shown_name,
)

NOT_RECORDED = "not recorded"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = add_command(
        commands,
        "diff",
        print_difference,
        help="what differs between two versions and the runs that made them",
        examples=("diff v8 v16", "diff best latest --json", "diff birds/v3 owls/v1"),
    )
    parser.add_argument("a", metavar="VERSION", help="such as v8, best or birds/v3")
    parser.add_argument("b", metavar="VERSION", help="the other one")


def print_difference(arguments: argparse.Namespace) -> int:
    registry = open_registry()
    a, b = (
        find_versions(registry, [name], model=arguments.model)[0]
        for name in (arguments.a, arguments.b)
    )
    found = differences(*(read_provenance(registry, version) for version in (a, b)))
    if arguments.json:
        sides = {
            side: {"model": version.model, "version": version.number}
            for side, version in (("a", a), ("b", b))
        }
        print_json({**sides, "differences": [asdict(each) for each in found]})
        return 0
    print(printable(_title(a, b)))
    if not found:
        print("nothing differs in what is recorded of them")
    print_sections(
        {
            section: {each.name: _both(each) for each in of_section}
            for section, of_section in by_section(found).items()
        }
    )
    return 0


def _title(a: Version, b: Version) -> str:
    is_one_model = a.model == b.model
    names = (shown_name(each, is_qualified=not is_one_model) for each in (a, b))
    return f"{f'{a.model}: ' if is_one_model else ''}{' and '.join(names)}"


def _both(difference: Difference) -> str:
    a, b = (
        NOT_RECORDED if fact is None else fact for fact in (difference.a, difference.b)
    )
    return f"{a}  ->  {b}"

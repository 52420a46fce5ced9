"""`verify`: a line for each version that says whether it is whole, and why if not."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from classifier.console.text import printable
from classifier.storage import megabytes
from classifier.store.versions import Version, with_int8_forms
from classifier.upkeep.command import (
    add_command,
    all_versions,
    find_versions,
    open_registry,
    print_json,
    shown_name,
)

if TYPE_CHECKING:  # they import numpy and MLflow
    from classifier.store.registry import Registry
    from classifier.upkeep.proof import Finding

NOT_WHOLE = 1
"""Exit code if a version is not whole, or an alias names none."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = add_command(
        commands,
        "verify",
        verify,
        help="whether versions are whole: files, weights, graph, run, aliases",
        examples=("verify", "verify v8 best", "verify --model birds-resnet18 --json"),
        exit_codes="0 all are whole; 1 one is not; 2 wrong usage; 3 the store cannot "
        "be read",
    )
    parser.add_argument(
        "versions",
        nargs="*",
        metavar="VERSION",
        help="such as v8 or best, with its int8 form (default: all versions)",
    )


def verify(arguments: argparse.Namespace) -> int:
    from classifier.upkeep.proof import prove_versions

    registry = open_registry()
    names, model = arguments.versions, arguments.model
    if names:
        versions = with_int8_forms(find_versions(registry, names, model=model))
    else:
        versions = all_versions(registry, model=model)
    wrong, findings = _wrong_aliases(registry, versions), []
    several = len({version.model for version in versions}) > 1
    for finding in prove_versions(registry, versions):
        findings.append(finding)
        if not arguments.json:
            name = shown_name(finding.version, is_qualified=several)
            print(printable(_line(finding, name)), flush=True)
    broken = sum(bool(finding.faults) for finding in findings)
    if arguments.json:
        print_json(_document(findings, wrong))
    else:
        for alias, fault in wrong.items():
            print(printable(f"@{alias:8} BROKEN  {fault}"))
        print(_summary(len(findings), broken, len(wrong)))
    return NOT_WHOLE if broken or wrong else 0


def _wrong_aliases(registry: "Registry", versions: Sequence[Version]) -> dict[str, str]:
    """Aliases of the versions' models that name no version, and what they name."""
    wrong: dict[str, str] = {}
    for model in dict.fromkeys(version.model for version in versions):
        known = {version.number for version in versions if version.model == model}
        aliases = registry.aliases(model)
        if not known.issuperset(aliases.values()):
            known = {version.number for version in registry.versions(model)}
        wrong |= {
            alias: f"names v{number} of {model!r}, which is not in the registry"
            for alias, number in aliases.items()
            if number not in known
        }
    return wrong


def _line(finding: "Finding", name: str) -> str:
    state = "BROKEN" if finding.faults else "whole"
    said = [*finding.faults, *finding.notes]
    if finding.files:
        said.insert(0, f"{finding.files} files, {megabytes(finding.size)}")
    return f"{name:9} {state:6}  {'; '.join(said)}"


def _summary(count: int, broken: int, wrong_aliases: int) -> str:
    versions = f"{count} version{'' if count == 1 else 's'}"
    said = f"{versions}: {count - broken} whole, {broken} broken"
    if not wrong_aliases:
        return said
    return f"{said}; aliases that name no version: {wrong_aliases}"


def _document(
    findings: "Sequence[Finding]", wrong_aliases: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "whole": not wrong_aliases and not any(each.faults for each in findings),
        "versions": [
            {
                "model": each.version.model,
                "version": each.version.number,
                "whole": not each.faults,
                "faults": each.faults,
                "notes": each.notes,
                "files": each.files,
                "bytes": each.size,
            }
            for each in findings
        ],
        "aliases": [
            {"alias": alias, "fault": fault} for alias, fault in wrong_aliases.items()
        ],
    }

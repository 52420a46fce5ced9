"""`list` and `show`: the versions of a model, and all that is known of one."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from classifier.console.text import printable
from classifier.storage import megabytes
from classifier.store.comparisons import (
    LoggedComparison,
    compared_with,
    comparisons_of,
    iso_date,
)
from classifier.store.location import StoreUnavailable
from classifier.store.provenance import find_run, read_provenance
from classifier.store.versions import Version
from classifier.upkeep.command import (
    ABSENT,
    add_command,
    find_versions,
    open_registry,
    print_json,
    print_sections,
    print_table,
)

if TYPE_CHECKING:
    from classifier.store.registry import Registry

HEAD = (
    *("version", "aliases", "epoch", "val top-1", "date", "run", "size", "int8"),
    "compared with",
)


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add_command(
        commands,
        "list",
        print_list,
        help="the versions of a model, one a line",
        examples=("list", "list --model birds-resnet18", "list --json"),
    )
    show = add_command(
        commands,
        "show",
        print_version,
        help="all that is known of a version",
        examples=("show v8", "show best", "show birds/v3 --json", "show v16.int8"),
    )
    show.add_argument("version", metavar="VERSION", help="such as v8, best or birds/v3")


def print_list(arguments: argparse.Namespace) -> int:
    registry = open_registry()
    model = registry.model_name(arguments.model)
    from classifier.store.logged_models import sizes_on_disk

    entries = list_entries(registry.versions(model), sizes_on_disk(registry))
    if arguments.json:
        print_json({"model": model, "versions": entries})
        return 0
    print_table(HEAD, map(_row, entries), right=("epoch", "val top-1", "size"))
    return 0


def list_entries(
    versions: Sequence[Version], sizes: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What `list --json` says of each version; `sizes` are of logged models."""
    pairs = _compared_pairs(versions)
    return [
        {
            "version": version.number,
            "aliases": list(version.aliases),
            "epoch": version.epoch,
            "val_top1_accuracy": version.val_top1_accuracy,
            "date": date_of(version),
            "run_id": version.run_id,
            "bytes": sizes.get(version.model_id or "") or None,
            "int8": version.int8 is not None,
            "compared_with": pairs.get(version.number, []),
        }
        for version in versions
    ]


def date_of(version: Version) -> str | None:
    """When it was registered, or the version that an int8 form was made of."""
    made = (version.base or version).created_ms
    return None if made is None else iso_date(made)


def _compared_pairs(versions: Sequence[Version]) -> dict[str, list[str]]:
    """Number -> names of what it was compared with, as candidate or as baseline."""
    pairs: dict[str, list[str]] = {}
    for version in versions:
        for form in (version, version.int8):
            for baseline in compared_with(form.tags) if form is not None else ():
                assert form is not None
                pairs.setdefault(version.number, []).append(baseline)
                base = baseline.removesuffix(".int8")
                pairs.setdefault(base, []).append(form.number)
    return {number: list(dict.fromkeys(names)) for number, names in pairs.items()}


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy, size = entry["val_top1_accuracy"], entry["bytes"]
    return (
        f"v{entry['version']}",
        " ".join(f"@{alias}" for alias in entry["aliases"]),
        ABSENT if entry["epoch"] is None else str(entry["epoch"]),
        ABSENT if accuracy is None else f"{100 * accuracy:.2f} %",
        str(entry["date"] or ABSENT),
        str(entry["run_id"] or ABSENT)[:8],
        ABSENT if size is None else megabytes(size),
        "yes" if entry["int8"] else "",
        " ".join(map(_name, entry["compared_with"])),
    )


def _name(number: str) -> str:
    """`v8` for a number; the name of a file or of another model's version as it is."""
    return f"v{number}" if number[:1].isdigit() else number


def print_version(arguments: argparse.Namespace) -> int:
    registry = open_registry()
    version = find_versions(registry, [arguments.version], model=arguments.model)[0]
    known = describe(registry, version)
    if arguments.json:
        print_json(known)
        return 0
    print(printable(f"{version.model} v{version.number}"))
    print_sections({name: facts for name, facts in _as_text(known).items() if facts})
    return 0


def describe(registry: "Registry", version: Version) -> dict[str, Any]:
    """What `show --json` says; what cannot be read is null, and why is in `problems`.

    Raises StoreUnavailable if the store does not answer.
    """
    problems: list[str] = []
    run = find_run(registry, version.run_id)
    if run is None:
        problems.append(f"its run {version.run_id} is not in the store")
    files = _files(registry, version, problems)
    provenance = read_provenance(registry, version)
    int8 = version.int8
    return {
        "model": version.model,
        "version": version.number,
        "aliases": list(version.aliases),
        "date": date_of(version),
        "model_id": version.model_id,
        "run": run
        and {
            "run_id": version.run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "started": iso_date(run.info.start_time),
        },
        "tags": dict(sorted(version.tags.items())),
        **{
            name.replace(" ", "_"): facts
            for name, facts in provenance.items()
            if name != "version"
        },
        "files": files,
        "int8": int8
        and {"version": int8.number, "tags": dict(sorted(int8.tags.items()))},
        "comparisons": [
            _comparison(each) for each in comparisons_of(registry, version)
        ],
        "problems": problems,
    }


def _files(
    registry: "Registry", version: Version, problems: list[str]
) -> list[dict[str, Any]] | None:
    """Name, size and recorded sha256 of each file; a missing file has no size."""
    from classifier.bundle.files import BrokenBundle  # it imports numpy
    from classifier.store.cache.entries import NOT_PUBLISHED

    try:
        folder = registry.fetch(version)
        assert version.model_id is not None
        digests = registry.digests_of(version.model_id)
    except (StoreUnavailable, BrokenBundle) as error:
        problems.append(str(error))
        return None
    there = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.name not in NOT_PUBLISHED
    }
    return [
        {"name": name, "bytes": there.get(name), "sha256": digests.get(name)}
        for name in sorted({*there, *digests})
    ]


def _comparison(found: LoggedComparison) -> dict[str, Any]:
    sides = {
        side: each and {"model": each.model, "version": each.version}
        for side, each in (("a", found.a), ("b", found.b))
    }
    return {
        "run_id": found.run_id,
        "date": found.date,
        **sides,
        "dataset": found.dataset,
        "verdict": found.verdict,
        **found.numbers,
    }


def _as_text(known: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The document of `show --json` as sections of facts."""
    about = ("aliases", "date", "model_id")
    sections: dict[str, dict[str, str]] = {
        "": {name: _text(known[name]) for name in about if known[name]}
    }
    for name, facts in known.items():
        if isinstance(facts, dict) and name != "int8":
            sections[name] = {key: _text(value) for key, value in facts.items()}
    sections["files"] = {
        each["name"]: f"{_size(each['bytes']):>17}  "
        f"sha256 {each['sha256'] or 'not recorded'}"
        for each in known["files"] or ()
    }
    if known["int8"] is not None:
        sections[f"v{known['int8']['version']}"] = known["int8"]["tags"]
    sections["comparisons"] = {
        each["date"]: f"{_side(each['a'])} -> {_side(each['b'])} on {each['dataset']}: "
        f"{each['verdict']}, run {each['run_id']}"
        for each in known["comparisons"]
    }
    sections["problems"] = {
        str(place): text for place, text in enumerate(known["problems"], 1)
    }
    return sections


def _size(count: int | None) -> str:
    return "missing" if count is None else f"{count:,} bytes"


def _side(side: Mapping[str, Any] | None) -> str:
    return ABSENT if side is None else _name(str(side["version"]))


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

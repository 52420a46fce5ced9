"""`export` and `import`: versions of one store as a file, and of a file in a store."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.console.exits import WrongUsage
from classifier.console.flags import not_empty
from classifier.console.text import printable
from classifier.storage import make_folder, megabytes
from classifier.store.versions import UnknownVersion, Version, split_name

if TYPE_CHECKING:  # MLflow takes a second
    from classifier.store.registry import Registry

ALL = "all"


class SeveralModels(WrongUsage, ValueError):
    """Versions of several models were named for one file."""


class WrongFile(WrongUsage, ValueError):
    """There is no file to import."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _add_export(commands)
    _add_import(commands)


def _add_export(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    parser = commands.add_parser(
        "export",
        help="write versions into a file, for another store",
        description="Write versions of one model into a zip file: their files, tags, "
        "aliases and int8 forms, the runs that made them, and the comparisons of these "
        "versions with each other.",
        epilog="examples:\n"
        "  python -m classifier export v8 v16 --out versions.zip\n"
        "  python -m classifier export all --model birds --out birds.zip\n\n"
        "exit codes: 0 done, 2 wrong usage, 3 not now (store, disk)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("versions", nargs="+", metavar="VERSION", help="v8, @best, all")
    parser.add_argument("--model", metavar="NAME", help="whose versions")
    parser.add_argument(
        "--out", type=_path, required=True, metavar="FILE.zip", help="replaced"
    )
    parser.set_defaults(run=run_export)


def _add_import(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    parser = commands.add_parser(
        "import",
        help="take versions out of a file into this store",
        description="Add the versions of a file that `export` wrote to this store, "
        "with the next numbers. The file is checked as a whole first. A version that "
        "is here already is recognised; an interrupted import is gone on with.",
        epilog="examples:\n"
        "  python -m classifier import versions.zip\n"
        "  python -m classifier import versions.zip --model birds --aliases\n\n"
        "exit codes: 0 done, 2 wrong usage or a file that is no whole export,\n"
        "3 not now (store, disk)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", type=_path, metavar="FILE.zip")
    parser.add_argument(
        "--model", metavar="NAME", help="name here (default: that of the export)"
    )
    parser.add_argument(
        "--aliases", action="store_true", help="set the aliases too, moving them here"
    )
    parser.set_defaults(run=run_import)


def _path(text: str) -> Path:
    try:
        return Path(not_empty(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_export(arguments: argparse.Namespace) -> int:
    from classifier.store.registry import Registry
    from classifier.upkeep.moving import export_versions

    registry = Registry()
    versions = _named(registry, arguments.versions, model=arguments.model)
    make_folder(arguments.out.parent, flag="--out")
    exported = export_versions(registry, versions, arguments.out)
    names = ", ".join(f"v{version.number}" for version in versions)
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {megabytes(size)}, {printable(versions[0].model)} {names}")
    print(f"comparisons: {exported.comparisons}")
    if exported.left_out:
        print(
            f"{exported.left_out} comparisons are left out, as they are also with "
            f"versions that are not exported"
        )
    return 0


def _named(
    registry: "Registry", names: list[str], *, model: str | None
) -> list[Version]:
    """The versions by number, each once; an int8 form goes with its version."""
    if names == [ALL]:
        name = registry.model_name(model)
        ours = [v for v in registry.versions(name) if v.model_id is not None]
        if not ours:
            raise UnknownVersion(f"{name!r} has no version with files; train one first")
        return ours
    models = {own for own, _ in map(split_name, names) if own} | ({model} - {None})
    if len(models) > 1:
        raise SeveralModels(
            f"versions of {', '.join(sorted(map(str, models)))} were named; export one "
            f"model to a file"
        )
    found = [
        registry.find(name, model=model or next(iter(models), None)) for name in names
    ]
    bases = {version.number: version for version in (v.base or v for v in found)}
    return sorted(bases.values(), key=lambda version: int(version.number))


def run_import(arguments: argparse.Namespace) -> int:
    from classifier.store.registry import Registry
    from classifier.upkeep.moving import import_versions

    if not arguments.file.is_file():
        raise WrongFile(f"there is no file {arguments.file}; name what export wrote")
    registry = Registry(create=True)
    imported = import_versions(
        registry,
        arguments.file,
        model=arguments.model,
        with_aliases=arguments.aliases,
    )
    for each in imported:
        was = "" if each.is_new else " (was there)"
        print(f"v{each.number} -> v{each.version.number}{was}", flush=True)
    return 0

"""`fetch`: one version as a small store of its own, for a service without registry.

KServe's storage initialiser runs it (deploy/kubernetes/kserve): it gets an address and
a folder, and the service then reads that folder as its store.
"""

import argparse
from pathlib import Path

from classifier.console.exits import WrongUsage

SCHEME = "mlflow://"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "fetch",
        help="one version, verified, as a store of its own in a folder",
        description="Fetch one version, verify it, and write it as a store of its own, "
        "under the same model, number, tags and aliases.",
        epilog="examples:\n  python -m classifier fetch mlflow://birds/v8 /mnt/models\n"
        "  MLFLOW_TRACKING_URI=sqlite:////mnt/models/mlflow.db python -m serving\n\n"
        "exit codes: 0 done; 2 wrong usage; 3 not now (store, disk, damaged files)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "version",
        metavar=f"{SCHEME}MODEL/VERSION",
        type=_name,
        help="the version as a number, v8, an alias or latest",
    )
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="new, empty, or of the same version"
    )
    parser.set_defaults(run=run)


def _name(address: str) -> str:
    """`MODEL/VERSION`, as the registry finds it."""
    name = address.removeprefix(SCHEME)
    if name == address or not all(name.rpartition("/")[::2]):
        raise argparse.ArgumentTypeError(
            f"must be {SCHEME}MODEL/VERSION, got {address!r}"
        )
    return name


def run(arguments: argparse.Namespace) -> int:
    from classifier.store.maintenance.single_store import fetch
    from classifier.store.registry import Registry

    registry = Registry()
    version = registry.find(arguments.version, model=None)
    if version.base is not None:
        raise WrongUsage(
            f"{version.number} is stored beside a version; fetch v{version.base.number}"
        )
    folder = arguments.folder
    is_there = fetch(registry, version, folder)
    print(f"{version.model} v{version.number} {is_there} {folder}")
    return 0

"""`fetch`: one version as a small store of its own, for a service without registry.

KServe's storage initialiser runs it (deploy/kubernetes/kserve): it gets an address and
a folder, and the service then reads that folder as its store.
"""

import argparse
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from classifier.bundle.files import BrokenBundle, read_bundle
from classifier.bundle.strict_json import parse_json
from classifier.console.exits import WrongUsage
from classifier.storage import make_folder, writing

if TYPE_CHECKING:
    from classifier.store.registry import Registry
    from classifier.store.versions import Version

SCHEME = "mlflow://"

DIGESTS_TAG = "sha256"
"""Tag of a logged model: sha256 of each file of the version, by its path, as JSON."""

DATABASE, FILES, PARTIAL = "mlflow.db", "mlruns", ".partial"


class NotEmpty(WrongUsage, OSError):
    """The folder to fetch into has other files."""


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


def fetch(registry: "Registry", version: "Version", folder: Path) -> str:
    """Writes the store; `is verified in`, or `was there and is verified in`.

    Its database is moved to its place last, so that a reader finds all or nothing.
    Raises NotEmpty, BrokenBundle if files are damaged, StoreUnavailable.
    """
    digests = recorded_digests(registry, version)
    make_folder(folder, flag="another FOLDER")
    there = {path.name for path in folder.iterdir()} - {PARTIAL, "lost+found"}
    if DATABASE in there:
        _check_same(folder, version)
        verify(_files_of(folder, version), digests)
        return "was there and is verified in"
    if there - {FILES}:  # `mlruns` alone is left by a fetch that was killed
        raise NotEmpty(
            f"{folder} has {', '.join(sorted(there))}; name a new or an empty folder"
        )
    with writing(f"write into {folder}"):
        for left in (FILES, PARTIAL):
            shutil.rmtree(folder / left, ignore_errors=True)
        partial = folder / PARTIAL
        partial.mkdir()
        try:
            write_store(registry, version, partial)
            verify(_files_of(partial, version), digests)
            os.replace(partial / FILES, folder / FILES)
            os.replace(partial / DATABASE, folder / DATABASE)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return "is verified in"


def recorded_digests(registry: "Registry", version: "Version") -> Mapping[str, str]:
    """sha256 by file; empty for a version made before they were recorded."""
    from classifier.store.calls import store_call

    with store_call(f"read the digests of version {version.number}"):
        registry.fetch(version)  # it says best what is wrong with a version
        tags = registry.client.get_logged_model(version.model_id).tags
    if DIGESTS_TAG not in tags:
        return {}
    found = None
    with suppress(ValueError):
        found = parse_json(tags[DIGESTS_TAG].encode())
    if not isinstance(found, dict):
        raise BrokenBundle(f"version {version.number} has no readable {DIGESTS_TAG}")
    return {str(name): str(digest) for name, digest in found.items()}


def verify(files: Path, digests: Mapping[str, str]) -> None:
    """Raises BrokenBundle if a file is missing, changed or unknown."""
    for name, digest in digests.items():
        file = files / name
        if not file.is_file():
            raise BrokenBundle(f"{name} is missing; fetch again")
        with file.open("rb") as opened:
            found = sha256()
            while block := opened.read(1 << 20):
                found.update(block)
        if found.hexdigest() != digest:
            raise BrokenBundle(
                f"{name} has the sha256 {found.hexdigest()}, and {digest} is recorded; "
                f"fetch again, or publish the version again"
            )
    read_bundle(files)


def write_store(registry: "Registry", version: "Version", folder: Path) -> None:
    """A store with this version alone, under its own number, tags and aliases.

    `classifier.store.logged_models` is not used: the image of the service has the small
    MLflow, which cannot import it.
    """
    from classifier.store.calls import store_call
    from classifier.store.registry import Registry

    assert version.model_id is not None
    own = Registry(f"sqlite:///{folder.absolute() / DATABASE}", create=True)
    files = registry.fetch(version)
    with store_call("write a version's files"):
        source = registry.client.get_logged_model(version.model_id)
        experiment = registry.client.get_experiment(source.experiment_id).name
        place = folder.absolute() / FILES / "fetched"
        model = own.client.create_logged_model(
            own.client.create_experiment(f"{experiment}, fetched", str(place)),
            name=source.name,
            source_run_id=version.run_id,
            tags=dict(source.tags),
        )
        own.client.log_model_artifacts(model.model_id, str(files))
        own.client.finalize_logged_model(model.model_id, "READY")
    added = own.register(
        version.model,
        model_id=str(model.model_id),
        run_id=version.run_id or "",
        tags={},
    )
    _renumber(folder / DATABASE, version)
    own.tag_version(_renamed(added, version), version.tags)
    for alias in version.aliases:
        own.set_alias(version.model, alias, version.number)


def _renamed(added: "Version", version: "Version") -> "Version":
    from dataclasses import replace

    return replace(added, number=version.number)


def _renumber(database: Path, version: "Version") -> None:
    """MLflow numbers the versions of a model from 1, and an answer names the number.
    Nothing refers to the entry yet."""
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute(
            "UPDATE model_versions SET version = ? WHERE name = ?",
            (int(version.number), version.model),
        )


def _check_same(folder: Path, version: "Version") -> None:
    from classifier.store.registry import Registry

    found = Registry(f"sqlite:///{folder.absolute() / DATABASE}").versions(
        version.model
    )
    if [(each.number, each.run_id) for each in found] != [
        (version.number, version.run_id)
    ]:
        raise NotEmpty(
            f"{folder} is another store; name a new or an empty folder for "
            f"{version.model} v{version.number}"
        )


def _files_of(folder: Path, version: "Version") -> Path:
    """The folder of the only logged model of a store that `write_store` made."""
    found = list((folder / FILES).glob("*/models/*/artifacts"))
    if len(found) != 1:
        raise BrokenBundle(f"{folder} lacks the files of version {version.number}")
    return found[0]

"""One version as a small store of its own, with its files verified."""

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from classifier.bundle.files import BrokenBundle, read_bundle
from classifier.console.exits import WrongUsage
from classifier.storage import file_sha256, make_folder, writing
from classifier.store.cache.entries import NOT_PUBLISHED
from classifier.store.calls import store_call
from classifier.store.registry import Registry
from classifier.store.versions import Version

DATABASE, FILES, PARTIAL = "mlflow.db", "mlruns", ".partial"


class NotEmpty(WrongUsage, OSError):
    """The folder to fetch into has other files."""


def fetch(registry: Registry, version: Version, folder: Path) -> str:
    """Writes the store; `is verified in`, or `was there and is verified in`.

    Its database is moved to its place last, so that a reader finds all or nothing.
    Raises NotEmpty, BrokenBundle if files are damaged, StoreUnavailable.
    """
    registry.fetch(version)  # it says best what is wrong with a version
    digests = registry.digests_of(str(version.model_id))
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


def verify(files: Path, digests: Mapping[str, str]) -> None:
    """Raises BrokenBundle if a file is missing, changed or unknown."""
    for name, digest in digests.items():
        file = files / name
        if not file.is_file():
            raise BrokenBundle(f"{name} is missing; fetch again")
        found = file_sha256(file)
        if found != digest:
            raise BrokenBundle(
                f"{name} has the sha256 {found}, and {digest} is recorded; "
                f"fetch again, or publish the version again"
            )
    read_bundle(files)


def write_store(registry: Registry, version: Version, folder: Path) -> None:
    """A store with this version alone, under its own number, tags and aliases.

    `classifier.store.logged_models` is not used: the image of the service has the small
    MLflow, which cannot import it.
    """
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
        for name in NOT_PUBLISHED:
            (_files_of(folder, version) / name).unlink(missing_ok=True)
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


def _renamed(added: Version, version: Version) -> Version:
    return replace(added, number=version.number)


def _renumber(database: Path, version: Version) -> None:
    """MLflow numbers the versions of a model from 1, and an answer names the number.
    Nothing refers to the entry yet."""
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute(
            "UPDATE model_versions SET version = ? WHERE name = ?",
            (int(version.number), version.model),
        )


def _check_same(folder: Path, version: Version) -> None:
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


def _files_of(folder: Path, version: Version) -> Path:
    """The folder of the only logged model of a store that `write_store` made."""
    found = list((folder / FILES).glob("*/models/*/artifacts"))
    if len(found) != 1:
        raise BrokenBundle(f"{folder} lacks the files of version {version.number}")
    return found[0]

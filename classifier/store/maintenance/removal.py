"""Removal of versions and logged models, in an order that survives a kill.

A version leaves the registry before its files leave the disk, so that none is offered
without files. The logged model is marked before both and deleted after both: the mark
finds what a killed removal left.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from classifier.console.exits import NotNow
from classifier.hardware import PROCESS_TAG, is_dead
from classifier.store.calls import store_call
from classifier.store.comparisons import EXPERIMENT
from classifier.store.location import sqlite_file, store_folder
from classifier.store.maintenance.in_use import unused
from classifier.store.registry import Registry, all_pages
from classifier.store.versions import INT8, INT8_MODEL_ID, INT8_TAG, Version

MARK = "pruned"
"""Tag of a logged model that is being removed: the version that had it."""

COMPARED_TAGS = ("compare.vs_", f"{INT8_TAG}compare.vs_")
"""Beginnings of the tags that a comparison leaves at its candidate."""


class FilesElsewhere(NotNow, RuntimeError):
    """The store's database names files outside of the store's folder."""


@dataclass(frozen=True)
class StoredModel:
    """A logged model and the place of its files."""

    model_id: str
    location: str
    folder: Path | None
    """MLflow's folder `artifacts`; None if the files are not on a disk here."""

    @property
    def whole_folder(self) -> Path | None:
        """With MLflow's folder around it, which is named for the model."""
        folder = self.folder
        if folder is None or folder.parent.name != self.model_id:
            return folder
        return folder.parent


@dataclass(frozen=True)
class Compared:
    """Versions and logged models that comparisons in the store are about."""

    names: frozenset[tuple[str | None, str | None]]
    """Models, and numbers without `.int8`."""

    model_ids: frozenset[str]

    def has(self, version: Version) -> bool:
        ids = {version.model_id, version.int8 and version.int8.model_id}
        is_tagged = any(tag.startswith(COMPARED_TAGS) for tag in version.tags)
        is_named = (version.model, version.number) in self.names
        return is_tagged or is_named or not self.model_ids.isdisjoint(ids)


class Shelf:
    """The files of a store's versions, and what refers to them."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._client = registry.client

    def compared(self) -> Compared:
        """Raises StoreUnavailable."""
        names, ids = set(), set()
        for run in self._runs(EXPERIMENT):
            tags = run.data.tags
            for side in ("a", "b"):
                model = tags.get(f"{side}.model") or tags.get("model")
                number = tags.get(f"{side}.version")
                names.add((model, number and number.removesuffix(INT8)))
            inputs = run.inputs.model_inputs if run.inputs is not None else []
            ids |= {each.model_id for each in inputs or []}
        return Compared(frozenset(names), frozenset(ids))

    @store_call("read the runs")
    def _runs(self, experiment: str) -> list[Any]:
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            return []
        search = self._client.search_runs
        return list(all_pages(search, experiment_ids=[found.experiment_id]))

    @store_call("list the versions of all models")
    def references(self) -> Counter[str]:
        """How many versions and int8 forms have each logged model, by its id."""
        search = self._client.search_registered_models
        counts: Counter[str] = Counter()
        for model in list(all_pages(search)):
            for version in self.registry.versions(str(model.name)):
                ids = (version.model_id, version.tags.get(INT8_MODEL_ID))
                counts.update(model_id for model_id in ids if model_id)
        return counts

    def models_of(self, versions: Sequence[Version]) -> dict[str, list[StoredModel]]:
        """The logged models of versions and int8 forms that exist, by their numbers.

        All logged models are read at once: 100 in 23 core-ms, one by one in 190.
        Raises StoreUnavailable or FilesElsewhere.
        """
        logged = {str(model.model_id): model for model in self._logged()}
        found = {}
        for version in versions:
            ids = (version.model_id, version.int8 and version.int8.model_id)
            there = [logged[model_id] for model_id in ids if model_id in logged]
            found[version.number] = [self._stored(model) for model in there]
        return found

    def _stored(self, model: Any) -> StoredModel:
        location = str(model.artifact_location)
        url = urlparse(location)
        if url.scheme not in ("", "file"):
            return StoredModel(model.model_id, location, None)
        folder = Path(unquote(url.path))
        self._check_own(folder, model.model_id)
        return StoredModel(model.model_id, location, folder)

    def _check_own(self, folder: Path, model_id: str) -> None:
        """Raises FilesElsewhere: a copy of a store names the files of the original."""
        if sqlite_file(self.registry.uri) is None:
            return
        home = store_folder(self.registry.uri).resolve()
        if not folder.resolve().is_relative_to(home):
            raise FilesElsewhere(
                f"the files of logged model {model_id} are in {folder}, outside of the "
                f"store's folder {home}; they may belong to the store that this one "
                f"is a copy of; run python -m classifier relocate first"
            )

    def size(self, model: StoredModel) -> int:
        """Bytes of files that are not on a disk here."""
        with store_call(f"list the files of logged model {model.model_id}"):
            listed = self._client.list_logged_model_artifacts(model.model_id)
            return sum(file.file_size or 0 for file in listed)

    @contextmanager
    def unused(self, models: Iterable[StoredModel]) -> Iterator[bool]:
        """Yield whether no process of this machine has one of them in memory."""
        with ExitStack() as stack:
            yield all(
                stack.enter_context(unused(model.model_id, model.folder))
                for model in models
            )

    def is_wanted_now(self, version: Version) -> bool:
        """Whether it got an alias or was compared, or is gone, since it was read."""
        with store_call(f"read version {version.number} of {version.model!r}"):
            try:
                entry = self._client.get_model_version(version.model, version.number)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return True
        is_compared = any(tag.startswith(COMPARED_TAGS) for tag in entry.tags)
        return bool(entry.aliases) or is_compared

    def remove(self, version: Version, models: Sequence[StoredModel]) -> None:
        """Raises StoreUnavailable or OSError; `unfinished` then finds the rest."""
        with store_call(f"remove version {version.number} of {version.model!r}"):
            for model in models:
                mark = {MARK: f"{version.model}/{version.number}"}
                self._client.set_logged_model_tags(model.model_id, mark)
            self._client.delete_model_version(version.model, version.number)
        for model in models:
            self.remove_model(model)

    def remove_model(self, model: StoredModel) -> None:
        """Remove the files of a logged model to which nothing refers, and itself."""
        with store_call(f"remove logged model {model.model_id}"):
            if model.whole_folder is None:
                get_artifact_repository(
                    model.location, tracking_uri=self.registry.uri
                ).delete_artifacts()
            elif model.whole_folder.exists():
                shutil.rmtree(model.whole_folder)
            self._client.delete_logged_model(model.model_id)

    def unfinished(self) -> list[StoredModel]:
        """Logged models that a killed removal left: marked, without a version."""
        marked = self._logged(f"tags.{MARK} LIKE '%'")
        references = self.references() if marked else Counter[str]()
        return [self._stored(m) for m in marked if not references[m.model_id]]

    def orphans(self) -> list[StoredModel]:
        """Logged models of this project to which no version and no comparison refers.

        Those of a run that goes on are left out: it may be about to register them.
        """
        references, compared = self.references(), self.compared().model_ids
        known = {model_id for model_id, count in references.items() if count}
        others = [m for m in self._logged() if m.model_id not in known | compared]
        is_left = {
            run: self._was_left(run) for run in {m.source_run_id for m in others}
        }
        return [self._stored(m) for m in others if is_left[m.source_run_id]]

    @store_call("list the logged models")
    def _logged(self, filter_: str | None = None) -> list[Any]:
        experiments = all_pages(self._client.search_experiments, view_type=ViewType.ALL)
        ids = [each.experiment_id for each in experiments]
        search = self._client.search_logged_models
        return list(all_pages(search, experiment_ids=ids, filter_string=filter_))

    def _was_left(self, run_id: str | None) -> bool:
        """Whether a run of this project has ended, or its process has."""
        if not run_id:
            return False
        with store_call(f"read run {run_id}"):
            run = self._client.get_run(run_id)
        process = run.data.tags.get(PROCESS_TAG)
        if process is None:
            return False  # another tool made it
        return bool(run.info.status != "RUNNING") or is_dead(process)


def freed_bytes(folders: Iterable[Path]) -> list[int]:
    """Bytes that each folder frees, if they are removed in this order.

    A file with several names, in these folders or outside, counts once: with the last
    of its names, if all are in the folders.
    """
    links: Counter[tuple[int, int]] = Counter()
    freed = []
    for folder in folders:
        size = 0
        for path in folder.rglob("*"):
            found = path.lstat()
            if path.is_dir() and not path.is_symlink():
                continue
            links[found.st_dev, found.st_ino] += 1
            if links[found.st_dev, found.st_ino] == found.st_nlink:
                size += found.st_size
        freed.append(size)
    return freed


def leftover_files(registry: Registry, *, before: float) -> list[Path]:
    """Half-written files and folders beside the store, unchanged since `before`.

    They are named `*.partial`. Empty for a store that is not a file.
    """
    if sqlite_file(registry.uri) is None:
        return []
    home = store_folder(registry.uri)
    found = [*home.glob(".*.partial"), *(home / "mlruns").rglob("*.partial")]
    return [path for path in found if path.lstat().st_mtime < before]


def remove_leftover(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        os.unlink(path)

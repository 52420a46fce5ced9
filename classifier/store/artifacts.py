"""Files of versions and of runs: local ones in place, remote ones in the user's cache.

A remote store is an MLflow server that passes files on (`mlflow-artifacts:`), or an
object store that the server names (`s3:`).
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from classifier.bundle.files import Bundle, NoBundle, parse_digests
from classifier.store.cache.entries import EntryCache, Runner
from classifier.store.calls import store_call
from classifier.store.location import FilesAbsent, StoreUnavailable, store_folder
from classifier.store.versions import Version

DIGESTS_TAG = "sha256"
"""Tag of a logged model: sha256 of each file of the version, by its path, as JSON."""

logger = logging.getLogger(__name__)


class Artifacts:
    """Files of the versions and runs of one store."""

    def __init__(self, client: MlflowClient, uri: str, natively: Runner) -> None:
        """Raises BadCacheSize."""
        self._client = client
        self._uri = uri
        self._natively = natively
        self._cache = EntryCache(natively=natively)

    def bundle(
        self, version: Version, *, on_found: Callable[[Path], object] = lambda _: None
    ) -> Bundle:
        """The version's files, read; they stay while the bundle is in use.

        `on_found` is called with their folder before. Raises as `of_version`, or
        BrokenBundle.
        """

        def fetch() -> Path:
            folder = self.of_version(version)
            on_found(folder)
            return folder

        return self._cache.bundle(fetch)

    def of_version(self, version: Version) -> Path:
        """The folder with the version's files.

        Local files are read in place, because MLflow's download writes into a local
        store, which fails on a read-only mount. MLflow keeps absolute paths; the files
        of a store that was moved as a whole are found all the same. Remote files are
        downloaded into the user's cache, where they are found too while the store is
        away. Raises FilesAbsent if they are not there, NoBundle if the version
        has none.
        """
        try:
            model = self._logged_model(version)
        except StoreUnavailable as error:
            kept = self._cache.kept(str(version.model_id))
            if kept is None:
                raise
            logger.warning("from the cache version=%s reason=%s", version.name, error)
            return kept
        location = str(model.artifact_location)
        try:
            url = urlparse(location)
        except ValueError as error:  # half an IPv6 address
            raise FilesAbsent(
                f"the registry has {location!r:.200} as the place of version "
                f"{version.number}'s files, which is not a valid address: {error}"
            ) from error
        if url.scheme not in ("", "file"):
            return self._cache.fetch(
                str(version.model_id),
                partial(RemoteFiles, location, self._uri, self._natively),
                digests=digests_in(model.tags) or None,
            )
        stored = Path(unquote(url.path))
        moved = (store_folder(self._uri) / "mlruns").glob(
            f"*/models/{version.model_id}/artifacts"
        )
        for folder in (stored, *moved):
            if folder.is_dir():
                return folder
        raise FilesAbsent(
            f"the files of version {version.number} are not at {stored}, nor below "
            f"{store_folder(self._uri) / 'mlruns'}; put them back"
        )

    def of_run(self, run_id: str, name: str) -> Path | None:
        """The file that a run keeps as `name`, in the cache if the store is remote.

        None if there is none. Local files are found as of_version() finds them, and
        remote ones in the cache while the store is away; programs write such a file
        once. Raises StoreUnavailable.
        """
        key = f"{run_id}-{sha256(name.encode()).hexdigest()[:16]}"
        try:
            location = self._place_of_run(run_id)
            if location is None:
                return None
            url = urlparse(location)
            if url.scheme not in ("", "file"):
                return self._of_remote_run(run_id, name, location, key)
        except StoreUnavailable:
            kept = self._cache.kept(key)
            if kept is None:
                raise
            return kept / name
        runs = store_folder(self._uri) / "mlruns"
        moved = runs.glob(f"*/{run_id}/artifacts/{name}")
        files = (Path(unquote(url.path), name), *moved)
        return next((file for file in files if file.is_file()), None)

    def _place_of_run(self, run_id: str) -> str | None:
        """The address of a run's files; None if the run was deleted."""
        with store_call(f"find the files of run {run_id}"):
            try:
                return str(self._client.get_run(run_id).info.artifact_uri)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None

    def _of_remote_run(
        self, run_id: str, name: str, location: str, key: str
    ) -> Path | None:
        source = RemoteFiles(location, self._uri, self._natively)
        if name not in source.listed(name.rpartition("/")[0] or None):
            return None
        entry = self._cache.fetch(key, lambda: source, digests=None, names=(name,))
        return entry / name

    def download(self, uri: str, *, to: Path) -> Path:
        """The folder of a model of any tool, `models:/NAME/3`, copied into `to`."""
        from mlflow.artifacts import download_artifacts

        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        with store_call(f"fetch {uri}"):
            return Path(
                download_artifacts(
                    artifact_uri=uri,
                    dst_path=str(to),
                    tracking_uri=self._uri,
                    registry_uri=self._uri,
                )
            )

    def _logged_model(self, version: Version) -> Any:
        if version.model_id is None:
            raise NoBundle(
                f"version {version.number} of {version.model!r} has no logged model; "
                f"it was not published by flipside's training"
            )
        with store_call(f"find the files of version {version.number}"):
            try:
                return self._client.get_logged_model(version.model_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                raise NoBundle(
                    f"the logged model {version.model_id} of version {version.number} "
                    f"was deleted from the store; train or publish the version again"
                ) from error


def digests_in(tags: Mapping[str, str]) -> Mapping[str, str]:
    """sha256 of a version's files by path, among the tags of a logged model.

    Empty if they were not recorded, and if anybody else wrote the tag.
    """
    try:
        return parse_digests(tags.get(DIGESTS_TAG, ""))
    except ValueError:
        return {}


class RemoteFiles:
    """Files below one address, by MLflow's classes for stores of all kinds."""

    def __init__(self, location: str, tracking_uri: str, natively: Runner) -> None:
        from mlflow.store.artifact.artifact_repository_registry import (
            get_artifact_repository,
        )

        self.location = location
        with _in_words(f"open {location}"):
            self._repository: Any = natively(
                get_artifact_repository, location, tracking_uri=tracking_uri
            )
            # boto3's client takes 0.2 s of processor time; MLflow keeps it.
            open_client = getattr(self._repository, "_get_s3_client", None)
            if open_client is not None:
                natively(open_client)

    def file(self, name: str, to: Path) -> None:
        """Its connections belong to the caller's thread, as those of all calls of
        MLflow do."""
        with _in_words(f"download {name} of {self.location}"):
            self._repository._download_file(name, str(to))

    def names(self, folder: str | None = None) -> list[str]:
        """Paths of all files, also in folders below."""
        found = list[str]()
        for name, is_folder in self.listed(folder).items():
            found += self.names(name) if is_folder else [name]
        return found

    def listed(self, folder: str | None = None) -> dict[str, bool]:
        """Paths of one folder, and whether each is a folder itself."""
        with _in_words(f"list {self.location}"):
            entries = self._repository.list_artifacts(folder)
            return {str(entry.path): bool(entry.is_dir) for entry in entries}


@contextmanager
def _in_words(doing: str) -> Iterator[None]:
    """Raises StoreUnavailable: each kind of store has errors of its own library."""
    try:
        yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise StoreUnavailable(f"cannot {doing}: {reason:.500}") from error

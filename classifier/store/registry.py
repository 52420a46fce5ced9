"""The place of the versions: MLflow's registry, read and written."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from classifier.bundle.files import NoBundle
from classifier.store.database import SchemaMismatch, check_schema, make_database
from classifier.store.location import (
    StoreUnavailable,
    is_remote,
    sqlite_file,
    store_folder,
    store_uri,
)
from classifier.store.versions import (
    UnknownModel,
    UnknownVersion,
    Version,
    find_version,
)

QUOTES = r"['\"\\]"
"""And the backslash, by which some databases escape in LIKE."""

RETRIES_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"

_DOES_NOT_EXIST = "RESOURCE_DOES_NOT_EXIST"
"""MLflow's name of that error."""


class Registry:
    """A store's registered models, for those who publish and those who answer."""

    def __init__(self, uri: str | None = None, *, create: bool = False) -> None:
        """StoreUnavailable where there is no store and `create` is not asked for."""
        self.uri = uri or store_uri()
        self._refuse_missing_file(create)
        # Creating tables logs two dozen lines of alembic's; errors still show.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # An error is raised as well as logged, and logged as 100 lines of traceback.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        with store_call(f"open {self.uri}"):
            file = sqlite_file(self.uri)
            if create and file is not None:
                make_database(file)
            if _has_database(self.uri):
                check_schema(self.uri)
            self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def model_name(self, asked: str | None) -> str:
        """`asked`, or the only registered model; UnknownModel lists what there is."""
        with store_call("list the registered models"):
            search = self.client.search_registered_models
            models = sorted(str(model.name) for model in _all_pages(search))
        if asked is None and len(models) == 1:
            return models[0]
        if asked is not None and asked in models:
            return asked
        if not models:
            raise UnknownModel(f"no model is registered in {self.uri}; train one first")
        wanted = (
            "several models are registered" if asked is None else f"no model {asked!r}"
        )
        raise UnknownModel(f"{wanted}; name one with --model: {', '.join(models)}")

    def has_model(self, model: str) -> bool:
        with store_call(f"look for model {model!r}"):
            return self._entry(model) is not None

    def versions(self, model: str) -> list[Version]:
        """All versions, by rising number; their int8 forms are not among them."""
        with store_call(f"list the versions of {model!r}"):
            aliases = _by_number(self.client.get_registered_model(model).aliases)
            return self._search(model, _named(model), aliases)

    def versions_since(
        self, model: str, known: Sequence[Version]
    ) -> list[Version] | None:
        """`known`, by rising number, with later versions and the aliases of now.

        A changed tag and a deleted version show in versions() alone, which reads 20
        rows for a version's 20 tags. None where only versions() can tell what is there.
        """
        newest = int(known[-1].number) if known else 0
        with store_call(f"look what is new of {model!r}"):
            entry = self._entry(model)
            if entry is None:
                raise StoreUnavailable(f"{self.uri} has no model {model!r} any more")
            aliases, later = _by_number(entry.aliases), list[Version]()
            latest = max((int(v.version) for v in entry.latest_versions), default=0)
            if latest > newest:
                after = f"{_named(model)} AND version_number > {newest}"
                later = self._search(model, after, aliases)
        numbers = {version.number for version in (*known, *later)}
        if latest < newest or not numbers.issuperset(aliases):
            return None
        return [*(_called(v, aliases.get(v.number, ())) for v in known), *later]

    def _entry(self, model: str) -> Any | None:
        """Not get_registered_model(), which reads each version to find the latest."""
        found = self.client.search_registered_models(_named(model))
        return next((entry for entry in found if entry.name == model), None)

    def _search(
        self, model: str, filter_: str, aliases: Mapping[str, Sequence[str]]
    ) -> list[Version]:
        """By rising number."""
        found = _all_pages(
            self.client.search_model_versions,
            filter_string=filter_,
            # MLflow's own order changes with each change between two pages.
            order_by=["version_number ASC"],
        )
        return [self._version(entry, aliases) for entry in found if entry.name == model]

    def resolve(self, model: str, asked: str) -> Version:
        """What `v8`, `8`, `best`, `@best`, `latest` or `v8.int8` names."""
        return find_version(self.versions(model), asked, model=model)

    def fetch(self, version: Version) -> Path:
        """The folder with the version's files.

        Read where they lie: MLflow's own download writes a file into a local store,
        which fails on a read-only mount. A store that was moved as a whole is found
        too, although MLflow keeps absolute paths. StoreUnavailable if they are away;
        NoBundle where the store itself says that there are none.
        """
        location = self._location(version)
        try:
            url = urlparse(location)
        except ValueError as error:  # half an IPv6 address
            raise StoreUnavailable(
                f"the files of version {version.number} are said to be at "
                f"{location!r:.200}, which is no place: {error}"
            ) from error
        if url.scheme not in ("", "file"):
            return self._download(location)
        stored = Path(unquote(url.path))
        moved = (store_folder(self.uri) / "mlruns").glob(
            f"*/models/{version.model_id}/artifacts"
        )
        for folder in (stored, *moved):
            if folder.is_dir():
                return folder
        raise StoreUnavailable(
            f"the files of version {version.number} are not at {stored}, nor below "
            f"{store_folder(self.uri) / 'mlruns'}; put them back"
        )

    def _location(self, version: Version) -> str:
        if version.model_id is None:
            raise NoBundle(
                f"version {version.number} of {version.model!r} has no logged model; "
                f"it was not published by flipside's training"
            )
        with store_call(f"find the files of version {version.number}"):
            try:
                model = self.client.get_logged_model(version.model_id)
            except MlflowException as error:
                if error.error_code != _DOES_NOT_EXIST:
                    raise
                raise NoBundle(
                    f"the logged model {version.model_id} of version {version.number} "
                    f"was deleted from the store; train or publish the version again"
                ) from error
        return str(model.artifact_location)

    def register(
        self, model: str, *, model_id: str, run_id: str, tags: Mapping[str, str]
    ) -> Version:
        """The next version of `model`, made in one step: seen whole or not at all."""
        with store_call(f"register a version of {model!r}"):
            if not self.has_model(model):
                self.client.create_registered_model(model)
            with _global_store(self.uri), sent_once():
                entry = self.client.create_model_version(
                    model,
                    source=f"models:/{model_id}",
                    run_id=run_id,
                    model_id=model_id,
                    tags=dict(tags),
                    await_creation_for=0,
                )
        return self._version(entry, {})

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """In the order given: MLflow sets them one by one, and may die in between."""
        with store_call(f"tag version {version.number}"):
            for name, value in tags.items():
                self.client.set_model_version_tag(
                    version.model, version.number, name, value
                )

    def set_alias(self, model: str, alias: str, number: str) -> None:
        """UnknownVersion for an int8 form: the registry has its version alone."""
        if not number.isdigit():
            raise UnknownVersion(
                f"alias {alias!r} cannot name {number}, which is stored beside a "
                f"version; move it to v{number.partition('.')[0]}"
            )
        with store_call(f"move alias {alias!r} to version {number}"):
            self.client.set_registered_model_alias(model, alias, number)

    def _version(self, entry: Any, aliases: Mapping[str, Sequence[str]]) -> Version:
        number = str(entry.version)
        source = str(entry.source or "")
        is_logged_model = source.startswith("models:/m-")
        return Version(
            model=str(entry.name),
            number=number,
            model_id=source.removeprefix("models:/") if is_logged_model else None,
            run_id=entry.run_id or None,
            aliases=tuple(aliases.get(number, ())),
            tags=dict(entry.tags),
        )

    def _download(self, location: str) -> Path:
        from mlflow.artifacts import download_artifacts

        with store_call(f"download {location}"):
            return Path(
                download_artifacts(artifact_uri=location, tracking_uri=self.uri)
            )

    def _refuse_missing_file(self, create: bool) -> None:
        """MLflow would make an empty store wherever it is asked to read one."""
        path = sqlite_file(self.uri)
        if path is None or create:
            return
        if not path.is_file():
            raise StoreUnavailable(
                f"there is no MLflow store at {path}; train first, run this in the "
                f"folder of mlflow.db, or set MLFLOW_TRACKING_URI"
            )


def _by_number(aliases: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """A version's number -> its aliases; searching versions does not give them."""
    by_number: dict[str, tuple[str, ...]] = {}
    for alias, number in sorted(aliases.items()):
        by_number[str(number)] = (*by_number.get(str(number), ()), alias)
    return by_number


def _called(version: Version, aliases: tuple[str, ...]) -> Version:
    return version if version.aliases == aliases else replace(version, aliases=aliases)


def _named(model: str) -> str:
    """A filter for a model's name. One with both kinds of quotes finds others too:
    MLflow's filters have no way to write a quote inside of quotes."""
    if "'" not in model:
        return f"name = '{model}'"
    if '"' not in model:
        return f'name = "{model}"'
    return f"name LIKE '{re.sub(QUOTES, '_', model)}'"


def _all_pages(search: Callable[..., Any], **asked: Any) -> Iterator[Any]:
    """What a search of MLflow's client finds, whose types say nothing."""
    token = None
    while token != "":
        page = search(**asked, page_token=token)
        yield from page
        token = page.token or ""


def _has_database(uri: str) -> bool:
    """Whether there is a database to be read before MLflow reads it."""
    file = sqlite_file(uri)
    if file is not None:
        return file.is_file()
    return uri.startswith(("postgresql", "mysql", "mssql"))


@contextmanager
def _global_store(uri: str) -> Iterator[None]:
    """MLflow looks a new version's logged model up in the process's global store,
    whatever its client was made for (a TODO in its sqlalchemy_store.py, 3.17)."""
    if mlflow.get_tracking_uri() == uri:
        yield
        return
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # which also removes the variable
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@contextmanager
def sent_once() -> Iterator[None]:
    """Around what would be there twice if it were sent twice.

    MLflow sends a POST again after a 502 or a lost answer, by when the server may have
    done it. Who asks anew instead can look first. It reads the variable at each request
    (mlflow/utils/rest_utils.py, 3.17).
    """
    before = os.environ.get(RETRIES_VARIABLE)
    os.environ[RETRIES_VARIABLE] = "0"
    try:
        yield
    finally:
        del os.environ[RETRIES_VARIABLE]
        if before is not None:
            os.environ[RETRIES_VARIABLE] = before


@contextmanager
def store_call(doing: str) -> Iterator[None]:
    """Errors of MLflow and of its database as ours, with what was being done."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, SchemaMismatch) as error:
        reason = str(error).splitlines()[0]
        raise StoreUnavailable(f"cannot {doing}: {reason}") from error


def open_experiment(registry: Registry, name: str, *, advice: str) -> str:
    """Its id; made where it is new, with artifacts where plain `mlflow ui` finds them.

    MLflow's default would depend on who comes first: an experiment made in its UI gets
    `mlflow-artifacts:`, which only a client of the server can write to.
    StoreUnavailable ends in `advice`, what else the program's user can do.
    """
    with store_call(f"open experiment {name!r}"):
        found = registry.client.get_experiment_by_name(name)
        if found is None:
            folder = store_folder(registry.uri) / "mlruns" / name
            location = None if is_remote(registry.uri) else str(folder)
            return str(registry.client.create_experiment(name, location))
    if found.lifecycle_stage != "active":
        raise StoreUnavailable(
            f"experiment {name!r} was deleted in MLflow; restore it with `mlflow "
            f"experiments restore --experiment-id {found.experiment_id}`, or {advice}"
        )
    at_server = str(found.artifact_location).startswith("mlflow-artifacts:")
    if at_server and not is_remote(registry.uri):
        raise StoreUnavailable(
            f"experiment {name!r} keeps its artifacts on a server "
            f"({found.artifact_location}), and {registry.uri} is not one; set "
            f"MLFLOW_TRACKING_URI to the server's address, or {advice}"
        )
    return str(found.experiment_id)

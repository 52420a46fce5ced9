"""MLflow's registry: models, versions, aliases and tags, read and written."""

import logging
import re
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from classifier.bundle.files import Bundle
from classifier.store.artifacts import Artifacts, digests_in
from classifier.store.cache.entries import Runner, run_here
from classifier.store.calls import (
    check_variables,
    global_store,
    sent_once,
    store_call,
)
from classifier.store.location import (
    StoreUnavailable,
    sqlite_file,
    store_uri,
)
from classifier.store.maintenance.database import check_schema, make_database
from classifier.store.versions import (
    INT8_TAG,
    UnknownModel,
    UnknownVersion,
    Version,
    find_version,
    split_name,
)

QUOTES = r"['\"\\]"
"""Quotes, and the backslash by which some databases escape in LIKE."""


CHANGED_TAG = "int8_changed"
"""Tag of a model: when a version of it got an int8 form, in nanoseconds since 1970.
MLflow has no time of a changed tag."""


class Registry:
    """The registered models of one store."""

    def __init__(
        self,
        uri: str | None = None,
        *,
        create: bool = False,
        natively: Runner = run_here,
    ) -> None:
        """Raises StoreUnavailable if there is no store; `create` makes one.

        Downloaded files are checked and kept by `natively`, off an event loop. Raises
        BadVariable if a variable of MLflow's has a value that it cannot read.
        """
        check_variables()
        self.uri = uri or store_uri()
        file = sqlite_file(self.uri)
        if file is not None and not create and not file.is_file():
            # MLflow would make an empty store here.
            raise StoreUnavailable(
                f"there is no MLflow store at {file}; train first, run this in the "
                f"folder of mlflow.db, or set MLFLOW_TRACKING_URI"
            )
        # Alembic logs two dozen lines when it creates tables; errors still show.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # MLflow raises an error and also logs it, with 100 lines of traceback.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        with store_call(f"open {self.uri}"):
            if file is not None:
                make_database(file)
            if file or self.uri.startswith(("postgresql", "mysql", "mssql")):
                check_schema(self.uri)
            self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self._marks: dict[str, Hashable] = {}
        """What models were like when their versions were last read."""

        self.files = Artifacts(self.client, self.uri, natively)

    def model_name(self, name: str | None) -> str:
        """`name`, or the only registered model. Raises UnknownModel with a list."""
        with store_call("list the registered models"):
            search = self.client.search_registered_models
            models = sorted(str(model.name) for model in all_pages(search))
        if name is None and len(models) == 1:
            return models[0]
        if name is not None and name in models:
            return name
        if not models:
            raise UnknownModel(f"no model is registered in {self.uri}; train one first")
        there = ", ".join(models)
        if name is not None:
            raise UnknownModel(f"no model {name!r}; the registry has {there}")
        raise UnknownModel(
            f"several models are registered; name one with --model: {there}"
        )

    def has_model(self, model: str) -> bool:
        with store_call(f"look for model {model!r}"):
            return self._entry(model) is not None

    def aliases(self, model: str) -> Mapping[str, str]:
        """Alias -> the number that it names, which need not exist."""
        with store_call(f"list the aliases of {model!r}"):
            entry = self._entry(model)
        aliases = {} if entry is None else entry.aliases
        return {str(alias): str(number) for alias, number in aliases.items()}

    def versions(self, model: str) -> list[Version]:
        """All versions by rising number, without their int8 forms."""
        with store_call(f"list the versions of {model!r}"):
            entry = self._entry(model)
            if entry is None:
                raise StoreUnavailable(f"{self.uri} has no model {model!r}")
            self._marks[model] = _mark(entry)
            return self._search(model, _named(model), _by_number(entry.aliases))

    def versions_since(
        self, model: str, known: Sequence[Version]
    ) -> list[Version] | None:
        """`known` (by rising number), later versions, and the present aliases.

        None if only versions() can answer: after a deleted version, or a new int8 form.
        Only versions() sees other changed tags, but it reads 20 rows for a version with
        20 tags. This is one request, or two if there are later versions.
        """
        newest = int(known[-1].number) if known else 0
        with store_call(f"read the new versions of {model!r}"):
            entry = self._entry(model)
            if entry is None:
                raise StoreUnavailable(f"{self.uri} has no model {model!r} any more")
            aliases, later = _by_number(entry.aliases), list[Version]()
            latest = max((int(v.version) for v in entry.latest_versions), default=0)
            if latest > newest:
                after = f"{_named(model)} AND version_number > {newest}"
                later = self._search(model, after, aliases)
        numbers = {version.number for version in (*known, *later)}
        if later:
            # The next look knows the mark: a version may come between the two parts of
            # this one's answer.
            self._marks.pop(model, None)
        elif self._marks.setdefault(model, _mark(entry)) != _mark(entry):
            return None
        if latest < newest or not numbers.issuperset(aliases):
            return None
        return [*(_with_aliases(v, aliases.get(v.number, ())) for v in known), *later]

    def _entry(self, model: str) -> Any | None:
        # get_registered_model() would read each version to find the latest.
        found = self.client.search_registered_models(_named(model))
        return next((entry for entry in found if entry.name == model), None)

    def _search(
        self, model: str, filter_: str, aliases: Mapping[str, Sequence[str]]
    ) -> list[Version]:
        found = all_pages(
            self.client.search_model_versions,
            filter_string=filter_,
            # In MLflow's own order, a change between two pages moves versions.
            order_by=["version_number ASC"],
        )
        return [self._version(entry, aliases) for entry in found if entry.name == model]

    def resolve(self, model: str, name: str) -> Version:
        """The version named `v8`, `8`, `best`, `@best`, `latest` or `v8.int8`."""
        return find_version(self.versions(model), name, model=model)

    def find(self, name: str, *, model: str | None) -> Version:
        """The version of `model`, else of the only one; `birds/v3` names its own."""
        own, version = split_name(name)
        return self.resolve(self.model_name(own or model), version)

    def bundle(
        self, version: Version, *, on_found: Callable[[Path], object] = lambda _: None
    ) -> Bundle:
        """The version's files, read; see Artifacts.bundle."""
        return self.files.bundle(version, on_found=on_found)

    def fetch(self, version: Version) -> Path:
        """The folder with the version's files; see Artifacts.of_version."""
        return self.files.of_version(version)

    def run_text(self, version: Version, name: str) -> str | None:
        """The text that the run of a version, or of its int8 form, keeps as `name`."""
        run_id = (version.base or version).run_id
        return None if run_id is None else self.text_of_run(run_id, name)

    def text_of_run(self, run_id: str, name: str) -> str | None:
        """The text that a run keeps as `name`; None if there is none."""
        file = self.file_of_run(run_id, name)
        return None if file is None else file.read_text("utf-8")

    def file_of_run(self, run_id: str, name: str) -> Path | None:
        """The file that a run keeps as `name`; None if there is none."""
        return self.files.of_run(run_id, name)

    def download(self, uri: str, *, to: Path) -> Path:
        """The folder of a model of any tool, `models:/NAME/3`, copied into `to`."""
        return self.files.download(uri, to=to)

    def digests_of(self, model_id: str) -> Mapping[str, str]:
        """sha256 of the version's files by their paths, as its logged model has them.

        Empty for a version made before they were recorded, and if anybody else wrote
        the tag. Raises StoreUnavailable, also if the logged model is deleted.
        """
        with store_call(f"read the digests of logged model {model_id}"):
            return digests_in(self.client.get_logged_model(model_id).tags)

    def register(
        self, model: str, *, model_id: str, run_id: str, tags: Mapping[str, str]
    ) -> Version:
        """Add the next version of `model` in one step, with its tags."""
        with store_call(f"register a version of {model!r}"):
            if not self.has_model(model):
                self.client.create_registered_model(model)
            with global_store(self.uri), sent_once():
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
        """Set tags one by one, in this order; on failure the first of them stay.

        Services see tags of an int8 form at their next look, others some time later.
        """
        with store_call(f"tag version {version.number}"):
            for name, value in tags.items():
                self.client.set_model_version_tag(
                    version.model, version.number, name, value
                )
            if any(name.startswith(INT8_TAG) for name in tags):
                now = str(time.time_ns())
                self.client.set_registered_model_tag(version.model, CHANGED_TAG, now)

    def set_alias(self, model: str, alias: str, number: str) -> None:
        """Raises UnknownVersion for an int8 form, which is no entry of the registry."""
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
            created_ms=entry.creation_timestamp,
        )


def _mark(entry: Any) -> Hashable:
    """Differs after a version was added or deleted, or got an int8 form."""
    return entry.last_updated_timestamp, entry.tags.get(CHANGED_TAG)


def _with_aliases(version: Version, aliases: Sequence[str]) -> Version:
    if version.aliases == aliases:
        return version  # 1,000 copies took 4 ms
    return replace(version, aliases=tuple(aliases))


def _by_number(aliases: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Version number -> aliases. MLflow's search of versions leaves aliases out."""
    by_number: dict[str, tuple[str, ...]] = {}
    for alias, number in sorted(aliases.items()):
        by_number[str(number)] = (*by_number.get(str(number), ()), alias)
    return by_number


def _named(model: str) -> str:
    """A filter for a model's name.

    A name with both kinds of quotes finds similar names too, because MLflow's filters
    cannot escape a quote.
    """
    if "'" not in model:
        return f"name = '{model}'"
    if '"' not in model:
        return f'name = "{model}"'
    return f"name LIKE '{re.sub(QUOTES, '_', model)}'"


def all_pages(search: Callable[..., Any], **criteria: Any) -> Iterator[Any]:
    """All results of a search of MLflow's client, which is untyped."""
    token = None
    while token != "":
        page = search(**criteria, page_token=token)
        yield from page
        token = page.token or ""

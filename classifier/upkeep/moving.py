"""Versions moved between stores: with runs, int8 forms and comparisons, by one file."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path

from classifier.bundle.files import read_bundle
from classifier.storage import check_room, default_cache, locked
from classifier.store.cache.entries import NOT_PUBLISHED
from classifier.store.calls import store_call
from classifier.store.comparisons import EXPERIMENT
from classifier.store.location import sqlite_file, store_folder
from classifier.store.logged_models import LoggedModels
from classifier.store.maintenance.archive import (
    SCHEMA,
    Archive,
    ArchiveWriter,
    KeptModel,
    KeptRun,
    KeptVersion,
    Manifest,
    model_digest,
    open_archive,
    write_archive,
)
from classifier.store.maintenance.records import (
    RunWriter,
    files_of_run,
    made_as,
    read_model,
    read_run,
)
from classifier.store.registry import Registry, all_pages
from classifier.store.versions import INT8, INT8_MODEL_ID, INT8_TAG, Version

IMPORTED_DIGEST = "imported_digest"
"""Tag of an imported version and its logged model: by it they are recognised."""

IMPORTED_FROM = "imported_from"
"""Tag of an imported version: its model and number in the store of the export."""

IMPORTED_MODEL = "imported_model_id"
"""Tag of an imported logged model: its id in the store where it was made."""

NOT_MOVED = NOT_PUBLISHED | {"MLmodel", "requirements.txt"}
"""The last two name ids of one store and versions of one machine; written anew."""

COMPARED = ("compare.vs_", f"{INT8_TAG}compare.vs_")


@dataclass(frozen=True)
class Exported:
    versions: Sequence[Version]
    comparisons: int
    left_out: int
    """Comparisons with versions that are not exported."""


def export_versions(
    registry: Registry, versions: Sequence[Version], out: Path
) -> Exported:
    """Write the versions, all of one model, into the file `out`.

    Raises StoreUnavailable, NoBundle or NotWritable; `out` is then as it was.
    """
    with _workspace("export") as folder, write_archive(out) as archive:
        return _Export(registry, versions, archive, folder).write()


class _Export:
    def __init__(
        self,
        registry: Registry,
        versions: Sequence[Version],
        archive: ArchiveWriter,
        workspace: Path,
    ) -> None:
        self._registry = registry
        self._versions = versions
        self._archive = archive
        self._workspace = workspace
        self._made: dict[str, str] = {}
        """Ids of the exported logged models, and those where they were made first."""

        self._run_ids: dict[str, str] = {}
        """The same of the runs."""

    def write(self) -> Exported:
        kept = [(version, *self._models(version)) for version in self._versions]
        compared, left_out = self._comparisons()
        comparisons = {run_id: self._run(run_id) for run_id in compared}
        made = {run_id: run.record.run_id for run_id, run in comparisons.items()}
        versions = [
            KeptVersion(
                number=version.number,
                aliases=list(version.aliases),
                tags=_tags(version, made),
                fp32=fp32,
                int8=int8,
            )
            for version, fp32, int8 in kept
        ]
        self._archive.add_manifest(
            Manifest(
                schema=SCHEMA,
                made_by=f"flipside {version_of('flipside')}",
                model=self._versions[0].model,
                versions=versions,
                runs=[self._run(run_id) for run_id in self._run_ids],
                comparisons=list(comparisons.values()),
            )
        )
        return Exported(self._versions, len(comparisons), left_out)

    def _models(self, version: Version) -> tuple[KeptModel, KeptModel | None]:
        fp32 = self._model(version)
        return fp32, None if version.int8 is None else self._model(version.int8)

    def _model(self, form: Version) -> KeptModel:
        folder = self._registry.fetch(form)  # NoBundle for another tool's version
        assert form.model_id is not None
        client = self._registry.client
        with store_call(f"read the logged model of version {form.number}"):
            model = client.get_logged_model(form.model_id)
            run = client.get_run(model.source_run_id)
        made_id = str(model.tags.get(IMPORTED_MODEL, form.model_id))
        self._made[form.model_id] = made_id
        self._run_ids[str(run.info.run_id)] = made_as(run)
        files = self._archive.add_folder(folder, without=NOT_MOVED)
        record = read_model(
            self._registry, form.model_id, made_id=made_id, run_id=made_as(run)
        )
        return KeptModel(
            record=record, files=files, digest=model_digest(made_id, files)
        )

    def _run(self, run_id: str) -> KeptRun:
        record = read_run(self._registry, run_id, self._made)
        into = self._workspace / run_id
        folder = files_of_run(self._registry, run_id, into=into)
        files = self._archive.add_folder(folder, without=frozenset())
        shutil.rmtree(into, ignore_errors=True)
        return KeptRun(record=record, files=files)

    def _comparisons(self) -> tuple[list[str], int]:
        """Runs of comparisons of these versions; and how many have others too."""
        client = self._registry.client
        with store_call("list the comparisons"):
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                return [], 0
            ids = [experiment.experiment_id]
            runs = list(all_pages(client.search_runs, experiment_ids=ids))
        whole = [run for run in runs if run.info.status == "FINISHED"]
        sides = {str(run.info.run_id): self._sides(run.data.tags) for run in whole}
        fit = [run_id for run_id, found in sides.items() if found == {True}]
        return sorted(fit), sum(found == {True, False} for found in sides.values())

    def _sides(self, tags: Mapping[str, str]) -> set[bool]:
        """Whether the compared versions are exported; a file is of no store."""
        numbers = {version.number: version.run_id for version in self._versions}
        found = set()
        for side in ("a", "b"):
            model = tags.get(f"{side}.model") or tags.get("model")
            number = (tags.get(f"{side}.version") or "").removesuffix(INT8)
            run_id = tags.get(f"{side}.run_id")
            is_exported = model == self._versions[0].model and number in numbers
            if run_id is not None or is_exported:
                found.add(is_exported and run_id in (None, numbers[number]))
        return found


def _tags(version: Version, comparisons: Mapping[str, str]) -> dict[str, str]:
    """The version's tags; of comparisons those that are exported, with their ids."""
    tags = {}
    for name, value in version.tags.items():
        if name.startswith(COMPARED):
            run_id = version.tags.get(f"{name.rpartition('.')[0]}.run_id", "")
            if run_id not in comparisons:
                continue
            value = comparisons.get(value, value)
        if name not in (IMPORTED_DIGEST, IMPORTED_FROM):
            tags[name] = value
    return tags


@dataclass(frozen=True)
class Imported:
    number: str
    """In the store of the export."""

    version: Version
    """In this store."""

    is_new: bool


def import_versions(
    registry: Registry, path: Path, *, model: str | None, with_aliases: bool
) -> Iterator[Imported]:
    """Yield each version of the file when it is in the store, as `model` or its own.

    Everything in the file is checked before anything is written. What an earlier
    import wrote, whole or interrupted, is found and gone on with. Raises BadArchive,
    StoreUnavailable, BrokenBundle or DiskTooSmall.
    """
    with _workspace("import") as folder, open_archive(path) as archive:
        if sqlite_file(registry.uri) is not None:
            home, remedy = store_folder(registry.uri), "make room there"
            check_room(
                home, archive.unpacked_bytes, purpose=f"to import {path}", remedy=remedy
            )
        archive.check_digests()
        name = model or archive.manifest.model
        yield from _Import(registry, archive, name, folder).write(with_aliases)


class _Import:
    def __init__(
        self, registry: Registry, archive: Archive, model: str, workspace: Path
    ) -> None:
        self._registry = registry
        self._archive = archive
        self._manifest = archive.manifest
        self._model = model
        self._workspace = workspace
        self._writers: dict[str, RunWriter] = {}
        """Of runs, by their ids in the manifest."""

        versions = self._manifest.versions
        models = [m for v in versions for m in (v.fp32, v.int8) if m is not None]
        self._exported = {each.record.model_id for each in models}
        self._model_ids: dict[str, str] = {}
        """Of logged models, by their ids in the manifest."""

    def write(self, with_aliases: bool) -> Iterator[Imported]:
        has_model = self._registry.has_model(self._model)
        there = self._registry.versions(self._model) if has_model else []
        imported: dict[str, Version] = {}
        for kept in self._manifest.versions:
            found = _recognised(kept, there)
            version = found or self._register(kept)
            if IMPORTED_DIGEST in version.tags:
                # Its run is gone on with, if the import was killed before its end.
                self._writer(kept.fp32.record.run_id)
            self._model_ids[kept.fp32.record.model_id] = version.model_id or ""
            self._add_int8(kept, version)
            imported[kept.number] = version
            yield Imported(kept.number, version, is_new=found is None)
        self._add_comparisons(imported)
        for writer in self._writers.values():
            writer.finish()
        if with_aliases:
            for kept in self._manifest.versions:
                for alias in kept.aliases:
                    number = imported[kept.number].number
                    self._registry.set_alias(self._model, alias, number)

    def _register(self, kept: KeptVersion) -> Version:
        made = kept.fp32
        writer = self._writer(made.record.run_id)
        model_id = self._store(made, writer, made.record.tags)
        own = (*COMPARED, INT8_TAG)
        tags = {k: v for k, v in kept.tags.items() if not k.startswith(own)}
        tags |= {
            "run_id": writer.run_id,
            IMPORTED_FROM: f"{self._manifest.model}/v{kept.number}",
            IMPORTED_DIGEST: made.digest,
        }
        return self._registry.register(
            self._model, model_id=model_id, run_id=writer.run_id, tags=tags
        )

    def _add_int8(self, kept: KeptVersion, version: Version) -> None:
        """Store the int8 form, if the version here has none."""
        made = kept.int8
        if made is None:
            return
        links = {
            "quantised_model": version.model,
            "quantised_version": version.number,
            "quantised_model_id": version.model_id or "",
        }
        if version.int8 is not None:
            self._model_ids[made.record.model_id] = version.int8.model_id or ""
            if IMPORTED_DIGEST in version.tags:
                self._writer(made.record.run_id, links)
            return
        writer = self._writer(made.record.run_id, links)
        model_id = self._store(made, writer, {**made.record.tags, **links})
        tags = {
            name: value
            for name, value in kept.tags.items()
            if name.startswith(INT8_TAG) and not name.startswith(COMPARED)
        }
        # The form is there when this tag is.
        tags.pop(INT8_MODEL_ID, None)
        tags |= {f"{INT8_TAG}run_id": writer.run_id, INT8_MODEL_ID: model_id}
        self._registry.tag_version(version, tags)

    def _writer(self, run_id: str, tags: Mapping[str, str] | None = None) -> RunWriter:
        """The writer of a run, which has everything but the versions' own."""
        if run_id not in self._writers:
            kept = next(r for r in self._manifest.runs if r.record.run_id == run_id)
            writer = RunWriter(self._registry, kept.record)
            with self._unpacked(kept.files, if_=not writer.is_whole) as folder:
                writer.write(
                    folder,
                    tags={**kept.record.tags, **(tags or {})},
                    exported=self._exported,
                )
            self._writers[run_id] = writer
        return self._writers[run_id]

    def _store(
        self, kept: KeptModel, writer: RunWriter, tags: Mapping[str, str]
    ) -> str:
        """The id of the logged model, which an interrupted import may have stored."""
        record = kept.record
        models = LoggedModels(
            self._registry, experiment_id=writer.experiment_id, run_id=writer.run_id
        )
        model_id = models.find(record.name)
        if model_id is None or not self._is_same(models, model_id, kept):
            own = {IMPORTED_DIGEST: kept.digest, IMPORTED_MODEL: record.model_id}
            with self._unpacked(kept.files) as folder:
                assert folder is not None
                bundle = read_bundle(folder)
                model_id = models.add(bundle, name=record.name, tags={**tags, **own})
        writer.add_output(model_id, step=record.step)
        writer.write_points(record.model_id, model_id)
        self._model_ids[record.model_id] = model_id
        return model_id

    def _is_same(self, models: LoggedModels, model_id: str, kept: KeptModel) -> bool:
        if model_id == kept.record.model_id:
            return True
        return models.tags_of(model_id).get(IMPORTED_DIGEST) == kept.digest

    def _add_comparisons(self, imported: Mapping[str, Version]) -> None:
        run_ids = {}
        for kept in self._manifest.comparisons:
            writer = RunWriter(self._registry, kept.record)
            run_ids[kept.record.run_id] = writer.run_id
            with self._unpacked(kept.files, if_=not writer.is_whole) as folder:
                inputs = [self._model_ids[each] for each in kept.record.inputs]
                tags = self._compared_tags(kept.record.tags, imported)
                writer.write(folder, tags=tags, inputs=inputs)
            writer.finish()
        for number, tags in self._candidate_tags(imported, run_ids):
            version = imported[number]
            new = {k: v for k, v in tags.items() if version.tags.get(k) != v}
            self._registry.tag_version(version, new)

    def _compared_tags(
        self, tags: Mapping[str, str], imported: Mapping[str, Version]
    ) -> dict[str, str]:
        """Tags of a comparison's run, with models, numbers and runs of this store."""
        changed = dict(tags)
        for name in ("model", "a.model", "b.model"):
            if changed.get(name) == self._manifest.model:
                changed[name] = self._model
        for side in ("a", "b"):
            number, dot, form = tags.get(f"{side}.version", "").partition(".")
            if number in imported and f"{side}.run_id" in tags:
                version = imported[number]
                changed[f"{side}.version"] = f"{version.number}{dot}{form}"
                changed[f"{side}.run_id"] = version.run_id or ""
        return changed

    def _candidate_tags(
        self, imported: Mapping[str, Version], run_ids: Mapping[str, str]
    ) -> Iterable[tuple[str, dict[str, str]]]:
        """Numbers of candidates in the export, and their tags with names of here."""
        for kept in self._manifest.versions:
            tags = {}
            for name, value in kept.tags.items():
                if name.startswith(COMPARED):
                    start, _, rest = name.partition("vs_")
                    baseline, _, what = rest.rpartition(".")
                    number, dot, form = baseline.partition(".")
                    if number in imported:
                        baseline = f"{imported[number].number}{dot}{form}"
                    tags[f"{start}vs_{baseline}.{what}"] = run_ids.get(value, value)
            if tags:
                yield kept.number, tags

    @contextmanager
    def _unpacked(
        self, files: Mapping[str, str], *, if_: bool = True
    ) -> Iterator[Path | None]:
        """Yield a folder with the files, removed afterwards; None if there are none."""
        if not files or not if_:
            yield None
            return
        folder = self._workspace / "files"
        try:
            yield self._archive.unpack(files, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _recognised(kept: KeptVersion, there: Sequence[Version]) -> Version | None:
    """The version that was imported before, or exported from here."""
    made = kept.fp32
    for version in there:
        if version.tags.get(IMPORTED_DIGEST) == made.digest:
            return version
        if version.model_id == made.record.model_id:
            return version
    return None


@contextmanager
def _workspace(name: str) -> Iterator[Path]:
    """Yield an empty folder; one process of this user has it at a time.

    What a killed process left in it is removed.
    """
    folder = default_cache() / name
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        for path in folder.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        yield folder

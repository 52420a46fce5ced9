"""A comparison in MLflow: a run of the experiment `compare`, tags, and an alias."""

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.entities as entities

from classifier.console.exits import error_text
from classifier.storage import write_json
from classifier.store.calls import sent_once, store_call
from classifier.store.comparisons import EXPERIMENT, PICTURES, PICTURES_TAG, VERSUS
from classifier.store.location import StoreUnavailable
from classifier.store.logged_models import open_experiment
from classifier.store.provenance import Difference, differences, read_provenance
from classifier.store.registry import Registry
from classifier.store.versions import INT8_TAG, UnknownModel, UnknownVersion, Version
from compare.collect.schema import ServedVersion
from compare.report.draw import Drawn
from compare.results.folder import ANSWERED, REPORTS
from compare.results.record import Record
from compare.results.summary import Summary, places, value_at

LOGGED = "mlflow.json"
"""File that keeps the run of each state of the reports, by their digest."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Logged:
    """Result of logging a comparison."""

    run_id: str
    is_new: bool
    untagged: str
    """Why the candidate got no tags; empty if it got them."""


def log_comparison(drawn: Drawn) -> Logged:
    """Log the reports as a run. Raises StoreUnavailable.

    Idempotent: the same answers and gates in a folder are one run. A run that was cut
    off is continued; `mlflow.json` names it. Metrics carry the time of the run's start,
    so that logging them again adds nothing.
    """
    registry = Registry()
    # No retries: the reports are written, and the same command logs them another time.
    with _store_or_disk(), sent_once():
        digest = _digest(drawn.folder)
        run, is_whole = _kept_run(registry, drawn.folder, digest)
        is_new = run is None
        if run is None:
            run = _start(registry, drawn)
            _keep(registry, drawn.folder, run, digest, is_whole=False)
        versions, untagged = _versions(registry, drawn.record)
        if not is_whole:
            _fill(registry, run, drawn, list(versions.values()))
            registry.client.set_terminated(run.info.run_id, "FINISHED")
        if (candidate := versions.get("b")) is not None:
            registry.tag_version(*_candidate_tags(candidate, run, drawn))
        _keep(registry, drawn.folder, run, digest, is_whole=True)
        return Logged(str(run.info.run_id), is_new, untagged)


def try_to_log(drawn: Drawn) -> None:
    """Log the comparison; a store that fails is a warning, not an error."""
    try:
        logged = log_comparison(drawn)
    except StoreUnavailable as error:
        logger.warning("not logged in MLflow: %s", error)
        return
    if logged.is_new:
        logger.info("logged in MLflow as run %s of %r", logged.run_id, EXPERIMENT)
    if logged.untagged:
        logger.warning("the candidate was not tagged: %s", logged.untagged)


def find_differences(record: Record) -> tuple[Difference, ...] | None:
    """What differs between the versions and their runs, besides their answers.

    None if the store does not have both; try_to_log() says why.
    """
    try:
        registry = Registry()
        versions, _ = _versions(registry, record)
        if len(versions) < 2:
            return None
        a, b = (read_provenance(registry, versions[side]) for side in ("a", "b"))
    except StoreUnavailable:
        return None
    return differences(a, b)


def try_to_log_matrix(files: Sequence[Path], *, name: str, model: str | None) -> None:
    """Log the files of a matrix as a run, once; a store that fails is a warning.

    `files` differ if the matrix does.
    """
    try:
        registry = Registry()
        with _store_or_disk(), sent_once():
            _log_matrix(registry, files, {"model": model or "", "matrix": name})
    except StoreUnavailable as error:
        logger.warning("not logged in MLflow: %s", error)


def _log_matrix(
    registry: Registry, files: Sequence[Path], tags: Mapping[str, str]
) -> None:
    client = registry.client
    advice = "leave MLflow out with --no-mlflow"
    experiment = open_experiment(registry, EXPERIMENT, advice=advice)
    digest = _digest_of(files)
    known = f"tags.digest = '{digest}' AND attributes.status = 'FINISHED'"
    if client.search_runs([experiment], filter_string=known, max_results=1):
        return
    kept = {name: value for name, value in tags.items() if value}
    run = client.create_run(
        experiment, tags={**kept, "digest": digest}, run_name=tags["matrix"]
    )
    for file in files:
        client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id, "FINISHED")
    logger.info("logged in MLflow as run %s of %r", run.info.run_id, EXPERIMENT)


def _digest(folder: Path) -> str:
    """Digest of the files that depend on answers and gates alone."""
    return _digest_of([folder / name for name in ANSWERED if (folder / name).is_file()])


def _digest_of(found: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in found)).hexdigest()


def _kept_run(
    registry: Registry, folder: Path, digest: str
) -> tuple[entities.Run | None, bool]:
    """The run of these very reports, if it still exists, and whether it is whole."""
    kept = _kept(folder).get(digest)
    if kept is None or kept.get("store") != registry.uri:
        return None, False
    with contextlib.suppress(StoreUnavailable), store_call("find the run"):
        run = registry.client.get_run(kept["run_id"])
        if run.info.lifecycle_stage == "active":
            return run, bool(kept["whole"])
    return None, False


def _kept(folder: Path) -> dict[str, Any]:
    try:
        runs: dict[str, Any] = json.loads((folder / LOGGED).read_text("utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return runs


def _keep(
    registry: Registry, folder: Path, run: entities.Run, digest: str, *, is_whole: bool
) -> None:
    kept = {"run_id": run.info.run_id, "store": registry.uri, "whole": is_whole}
    write_json(folder / LOGGED, {"runs": {**_kept(folder), digest: kept}})


def _start(registry: Registry, drawn: Drawn) -> entities.Run:
    record, summary = drawn.record, drawn.verdict.summary
    advice = "leave MLflow out with --no-mlflow"
    experiment = open_experiment(registry, EXPERIMENT, advice=advice)
    tags = {
        "model": summary.subject,
        "a.model": record.a.model,
        "b.model": record.b.model,
        "a.version": record.a.number,
        "b.version": record.b.number,
        "a.run_id": record.a.run_id,
        "b.run_id": record.b.run_id,
        "dataset.name": record.data_name,
        "dataset.digest": record.data_digest,
        "verdict": summary.verdict,
        "gates": "; ".join(gate.expression for gate in summary.gates),
        PICTURES_TAG: _pictures(drawn.folder),
    }
    return registry.client.create_run(
        experiment,
        tags={k: str(v) for k, v in tags.items() if v},
        run_name=summary.replacement,
    )


def _pictures(folder: Path) -> int:
    """Number of kept pictures on which the versions differ."""
    try:
        return len(json.loads((folder / PICTURES).read_text("utf-8"))["pictures"])
    except (OSError, ValueError, LookupError):
        return 0


def _versions(registry: Registry, record: Record) -> tuple[dict[str, Version], str]:
    """The registry entries of the versions, `a` and `b`; a file has none.

    No entries, and why, if the service has another store.
    """
    sides = {"a": record.a, "b": record.b}
    try:
        return {
            name: _registered(registry, side)
            for name, side in sides.items()
            if side.file_sha256 is None
        }, ""
    except (UnknownModel, UnknownVersion) as error:
        return {}, str(error)


def _registered(registry: Registry, served: ServedVersion) -> Version:
    """The registry's entry of a version that answered.

    Raises UnknownModel or UnknownVersion if the service has another store.
    """
    version = registry.resolve(registry.model_name(served.model), served.number)
    if served.run_id is not None and version.run_id != served.run_id:
        raise UnknownVersion(
            f"v{served.number} of {served.model!r} in {registry.uri} is of run "
            f"{version.run_id}, and the service's is of run {served.run_id}; set "
            "MLFLOW_TRACKING_URI to the service's store"
        )
    return version


def _fill(
    registry: Registry, run: entities.Run, drawn: Drawn, versions: list[Version]
) -> None:
    """Log metrics, files, the data set, and links to the versions' models."""
    client, run_id = registry.client, run.info.run_id
    metrics = [
        entities.Metric(name, value, run.info.start_time, 0)
        for name, value in scalars(drawn.verdict.summary).items()
    ]
    client.log_batch(run_id, metrics=metrics)
    dataset = entities.Dataset(
        name=drawn.record.data_name,
        digest=drawn.record.data_digest[:36],  # MLflow's field holds no more
        source_type="local",
        source="{}",
    )
    inputs = entities.DatasetInput(
        dataset, [entities.InputTag("mlflow.data.context", "comparison")]
    )
    models = dict.fromkeys(v.model_id for v in versions if v.model_id is not None)
    client.log_inputs(run_id, [inputs], [entities.LoggedModelInput(m) for m in models])
    for name in (*REPORTS, PICTURES):
        if (drawn.folder / name).is_file():
            client.log_artifact(run_id, str(drawn.folder / name))


def scalars(summary: Summary) -> dict[str, float]:
    """All numbers of a summary that exist, by the names that gates have for them."""
    found = {
        ".".join(place.path).removesuffix(".value"): value_at(summary, place.path)
        for place in places()
        if place.is_number
    }
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float)
    }


def _candidate_tags(
    candidate: Version, run: entities.Run, drawn: Drawn
) -> tuple[Version, dict[str, str]]:
    """The registry entry and its tags; a value that does not exist is `none`.

    The tags of an int8 form are at its base version, with the prefix `int8_`.
    """
    summary = drawn.verdict.summary
    # The name of a file may have letters that MLflow's names of tags have not.
    a, b = drawn.record.a, drawn.record.b
    is_named = a.model == b.model or a.file_sha256 is not None
    name = a.number if is_named else f"{a.model}_v{a.number}"
    baseline = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    prefix = f"{INT8_TAG if candidate.base else ''}{VERSUS}{baseline}"
    values = {
        "verdict": summary.verdict,
        "negative_flip_rate": summary.top1.negative_flip_rate.value,
        "delta": summary.top1.delta.value,
        "run_id": run.info.run_id,
    }
    tags = {
        f"{prefix}.{name}": "none" if value is None else str(value)
        for name, value in values.items()
    }
    return candidate.base or candidate, tags


@contextlib.contextmanager
def _store_or_disk() -> Iterator[None]:
    """Raises StoreUnavailable for errors of the store, and of the artifacts' disk."""
    try:
        with store_call("log the comparison"):
            yield
    except OSError as error:
        reason = error_text(error)
        raise StoreUnavailable(f"cannot log the comparison: {reason}") from error


def promote(drawn: Drawn, alias: str) -> str:
    """Move the alias if the verdict is `pass`; a sentence that says what was done.

    Raises UnknownVersion for an int8 form, which no alias can name. Raises
    StoreUnavailable, UnknownModel or UnknownVersion if the service has another store.
    """
    candidate = drawn.record.b
    if drawn.verdict.name != "pass":
        return (
            f"@{alias} was not moved to v{candidate.number}: the verdict is "
            f"{drawn.verdict.name.replace('_', ' ')}"
        )
    registry = Registry()
    version = _registered(registry, candidate)
    before = [v.number for v in registry.versions(version.model) if alias in v.aliases]
    if before == [version.number]:
        return f"@{alias} is v{version.number} already"
    registry.set_alias(version.model, alias, version.number)
    came = f", it was v{before[0]}" if before else ""
    return f"@{alias} of {version.model} is now v{version.number}{came}"

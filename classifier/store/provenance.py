"""Provenance of a version: its run, settings, data, libraries, code and network.

Imports MLflow only to read them, as `Difference` is also of use without.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from classifier.store.location import StoreUnavailable
from classifier.store.versions import Version

if TYPE_CHECKING:
    from mlflow.entities import Run

    from classifier.store.registry import Registry

Provenance = Mapping[str, Mapping[str, str]]
"""Facts by section and name. A fact that was not recorded is absent."""

COMMIT_TAG = "mlflow.source.git.commit"

SECTIONS = {"recipe_": "recipe", "version_": "libraries"}
"""Sections of a run's parameters by their prefix; the others are settings."""

UNSET = "None"
"""MLflow's text of a flag that was not given; older runs do not have it at all."""

OF_DATA = (
    "dataset_name",
    "dataset_digest",
    "dataset_source",
    "classes",
    "training_images",
    "validation_images",
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A fact in which two versions differ."""

    section: str
    name: str
    a: str | None = None
    """Of the first version; None if it was not recorded."""

    b: str | None = None


def differences(a: Provenance, b: Provenance) -> tuple[Difference, ...]:
    """All facts that are not equal, in the order of their sections."""
    return tuple(
        Difference(section=section, name=name, a=of_a, b=of_b)
        for section in dict.fromkeys((*a, *b))
        for name in dict.fromkeys((*a.get(section, {}), *b.get(section, {})))
        if (of_a := a.get(section, {}).get(name))
        != (of_b := b.get(section, {}).get(name))
    )


def by_section(found: tuple[Difference, ...]) -> Mapping[str, list[Difference]]:
    """Section -> its differences."""
    sections: dict[str, list[Difference]] = {}
    for difference in found:
        sections.setdefault(difference.section, []).append(difference)
    return sections


def read_provenance(registry: "Registry", version: Version) -> Provenance:
    """What is recorded of the version, in its tags, its run and its files.

    An int8 form has the provenance of its version, and the command that made it.
    Raises StoreUnavailable if the store does not answer; a run or files that are gone
    are not recorded.
    """
    base = version.base or version
    run = find_run(registry, base.run_id)
    params: Mapping[str, str] = run.data.params if run is not None else {}
    sections: dict[str, dict[str, str]] = {
        "version": _about(base, run),
        "code": _code(run),
        "settings": {},
        "recipe": {},
        "data": _of_data(base, params),
        "libraries": {},
    }
    for name, value in sorted(params.items()):
        prefix = next((p for p in SECTIONS if name.startswith(p)), "")
        if name not in OF_DATA and value != UNSET:
            section = SECTIONS.get(prefix, "settings")
            sections[section][name.removeprefix(prefix)] = value
    if version.base is not None:
        sections["int8 form"] = _code(find_run(registry, version.run_id))
    sections |= _fields_of_files(registry, version, ("network", "preprocessing"))
    return {name: facts for name, facts in sections.items() if facts}


def find_run(registry: "Registry", run_id: str | None) -> "Run | None":
    """The run; None if there is none, or if it was deleted for good."""
    from mlflow.exceptions import MlflowException

    from classifier.store.calls import store_call

    if run_id is None:
        return None
    with store_call(f"read run {run_id}"):
        try:
            return registry.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None


def _about(version: Version, run: "Run | None") -> dict[str, str]:
    facts = {
        "run_id": version.run_id,
        "run": None if run is None else str(run.info.run_name),
        "epoch": version.tags.get("epoch"),
        "imported_from": version.tags.get("imported_from"),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _code(run: "Run | None") -> dict[str, str]:
    tags: Mapping[str, str] = run.data.tags if run is not None else {}
    facts = {"command": tags.get("command"), "git_commit": tags.get(COMMIT_TAG)}
    return {name: fact for name, fact in facts.items() if fact}


def _of_data(version: Version, params: Mapping[str, str]) -> dict[str, str]:
    facts = {name: version.tags.get(name) or params.get(name) for name in OF_DATA}
    return {name: fact for name, fact in facts.items() if fact}


def _fields_of_files(
    registry: "Registry", version: Version, names: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Fields of small JSON files of the version; what cannot be read is left out."""
    from classifier.bundle.files import BrokenBundle
    from classifier.bundle.strict_json import parse_json

    fields: dict[str, dict[str, str]] = {}
    with suppress(StoreUnavailable, BrokenBundle):
        folder = registry.fetch(version)
        for name in names:
            with suppress(OSError, ValueError):
                found: Any = parse_json((folder / f"{name}.json").read_bytes())
                if isinstance(found, dict):
                    fields[name] = {
                        key: value if isinstance(value, str) else json.dumps(value)
                        for key, value in found.items()
                        if value is not None
                    }
    return fields

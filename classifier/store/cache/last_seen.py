"""Versions of remote registries as last read, to start from while one is away.

One file for each store and model, below the user's cache. It names no address, which
may have a password in it.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from classifier.bundle.strict_json import parse_json
from classifier.storage import default_cache, make_folder, write_json
from classifier.store.location import is_remote
from classifier.store.versions import Version

logger = logging.getLogger(__name__)


def keep_versions(uri: str, model: str, versions: Sequence[Version]) -> None:
    """Keeps the versions of a model of a remote registry; others are not kept.

    A cache that cannot be written is logged.
    """
    if not is_remote(uri):
        return
    file = _file(uri, model)
    entries = [{**asdict(version), "is_qualified": False} for version in versions]
    try:
        make_folder(file.parent, flag="XDG_CACHE_HOME")
        write_json(file, {"model": model, "versions": entries})
    except OSError as error:
        logger.warning("versions are not kept reason=%s", error)


def last_versions(uri: str, model: str) -> list[Version] | None:
    """The versions of a model as last read; None if nothing is kept."""
    found = _read(_file(uri, model))
    return None if found is None else found[1]


def last_models(uri: str) -> list[str]:
    """The models of a registry whose versions are kept."""
    read = [_read(file) for file in sorted(_folder(uri).glob("*.json"))]
    return sorted(found[0] for found in read if found is not None)


def _read(file: Path) -> tuple[str, list[Version]] | None:
    try:
        kept = parse_json(file.read_bytes())
        return kept["model"], [_version(entry) for entry in kept["versions"]]
    # Absent, damaged, or of another version of this program.
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _version(entry: dict[str, Any]) -> Version:
    return Version(**{**entry, "aliases": tuple(entry["aliases"])})


def _folder(uri: str) -> Path:
    return default_cache() / "registries" / _short(uri)


def _file(uri: str, model: str) -> Path:
    return _folder(uri) / f"{_short(model)}.json"


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]

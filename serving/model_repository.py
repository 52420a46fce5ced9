"""The model repository extension: what the registry has, loaded and unloaded."""

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, request

from serving.body_reader import SMALL_BODY_BYTES, BadRequest, read_body
from serving.service import Service
from serving.slot import State
from serving.version_status import VersionStatus

STATES: Mapping[State, str] = {
    "ready": "READY",
    "loading": "LOADING",
    "failed": "UNAVAILABLE",
    "available": "UNAVAILABLE",
}

PARAMETERS = frozenset(("version", "unload_dependents"))
"""That are taken; the second means nothing here, and clients send it always."""


def add_model_repository(routes: Blueprint, service: Service) -> None:
    pool, control = service.pool, service.control

    @routes.post("/repository/index")
    def index() -> list[dict[str, Any]]:
        wants_ready = _document().get("ready") is True
        statuses = pool.loaded() if wants_ready else pool.statuses()
        return [_entry(status) for status in statuses]

    @routes.post("/repository/models/<model>/load")
    def load(model: str) -> dict[str, Any]:
        """Without a version: what was served from the start."""
        asked = _asked_version()
        for name in pool.wanted if asked is None else [asked]:
            control.add(name)
        return {}

    @routes.post("/repository/models/<model>/unload")
    def unload(model: str) -> dict[str, Any]:
        """Without a version: all that are in memory."""
        asked = _asked_version()
        loaded = [status.version.number for status in pool.loaded()]
        for name in loaded if asked is None else [asked]:
            control.remove(name)
        return {}


def _entry(status: VersionStatus) -> dict[str, Any]:
    reason = status.reason or ""
    if status.state == "available":
        how = "loaded when it is first asked for" if status.is_served else "not served"
        reason = f"in the registry, {how}"
    return {
        "name": status.version.model,
        "version": status.version.number,
        "state": STATES[status.state],
        "reason": reason,
    }


def _asked_version() -> str | None:
    """Of the body's parameters, or of the query, for clients that cannot set those."""
    parameters = _document().get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequest("the parameters are no object; they may have a version")
    unknown = set(parameters) - PARAMETERS
    if unknown:
        raise BadRequest(
            f"the parameters have {', '.join(sorted(unknown))!r:.80}; versions come "
            f"from the registry as they are, and only a version may be named"
        )
    version = parameters.get("version", request.args.get("version"))
    if version is not None and type(version) not in (str, int):
        raise BadRequest(f"the version is {version!r:.40}; name it as 'v8' or '8'")
    return None if version is None else str(version)


def _document() -> Mapping[str, Any]:
    """An empty body is an empty object."""
    try:
        # Read outside of the places for predictions.
        document = orjson.loads(read_body(request, most=SMALL_BODY_BYTES) or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest("the body is JSON and no object")
    return document

"""Errors of requests as HTTP status, code and message, for all routes."""

import logging
from dataclasses import dataclass, field

from flask import g, request
from werkzeug.exceptions import HTTPException

from classifier.console.text import printable_lines
from classifier.datasets.flagged import FlaggedFull
from classifier.images.decoding import ImageTooLarge, UndecodableImage
from classifier.store.versions import AmbiguousVersion, UnknownVersion
from serving.http.auth import Forbidden, Unauthorized
from serving.http.bodies import (
    MAX_BODY_BYTES,
    BadRequest,
    BodyTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from serving.http.service import WrongModel
from serving.inference.batcher import Overloaded
from serving.inference.predictor import BadTopK
from serving.inference.requests import DeadlinePassed
from serving.shadow.kept import NothingKept
from serving.versions.slot import NotReady, VersionFailed

logger = logging.getLogger(__name__)


class NotHere(LookupError):
    """The service has no such thing."""


KNOWN: dict[type[Exception], tuple[int, str]] = {
    BadRequest: (400, "bad_request"),
    BadTopK: (400, "bad_request"),
    AmbiguousVersion: (400, "bad_request"),
    UndecodableImage: (400, "undecodable_image"),
    ImageTooLarge: (400, "image_too_large"),
    Unauthorized: (401, "unauthorized"),
    Forbidden: (403, "forbidden"),
    WrongModel: (404, "not_found"),
    NotHere: (404, "not_found"),
    NothingKept: (404, "not_found"),
    UnknownVersion: (404, "unknown_version"),
    RequestTimeout: (408, "request_timeout"),
    BodyTooLarge: (413, "body_too_large"),
    UnsupportedMediaType: (415, "unsupported_media_type"),
    Overloaded: (429, "overloaded"),
    VersionFailed: (503, "version_failed"),  # before its base class NotReady
    NotReady: (503, "not_ready"),
    DeadlinePassed: (504, "timeout"),
    FlaggedFull: (507, "not_kept"),
}

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


@dataclass(frozen=True)
class HttpError:
    status: int
    code: str
    message: str
    """Printable UTF-8 without control characters: it may quote the request."""

    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable_lines(self.message))


def http_error_of(error: Exception) -> HttpError:
    """The HTTP error for `error`. Logs an unexpected one; the client gets its id."""
    for kind, (status, code) in KNOWN.items():
        if isinstance(error, kind):
            return HttpError(status, code, str(error), _headers(error))
    if isinstance(error, HTTPException):
        status = error.code or 500
        code = HTTP_CODES.get(status, "bad_request" if status < 500 else "internal")
        allowed = {k: v for k, v in error.get_headers() if k.lower() == "allow"}
        return HttpError(status, code, _http_message(status), allowed)
    logger.error("internal error id=%s", g.state.id, exc_info=error)
    return HttpError(500, "internal", f"a fault of the service, logged as {g.state.id}")


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, Overloaded):
        return {"Retry-After": str(error.retry_after_seconds)}
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    return {}


def _http_message(status: int) -> str:
    route = f"{request.method} {request.path}"
    if status == 404:
        return f"there is no {route}; there are POST /predict and GET /versions"
    if status == 405:
        return f"{route} is not allowed; see the Allow header"
    if status == 413:
        return (
            f"the body is over {MAX_BODY_BYTES:,} bytes, or a field of its form that "
            f"is no file is too long; send images as files, in several requests"
        )
    return f"{route} cannot be understood"

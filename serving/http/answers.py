"""Answers in JSON, and what is noted of a request until its answer is sent."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import orjson
from flask import Request, Response, request
from werkzeug.datastructures import Headers

from serving.inference.predictor import Predictor


@dataclass
class RequestState:
    """A request as log, metrics and headers name it; `g.state`."""

    id: str
    started: float = field(default_factory=time.perf_counter)
    """A time of time.perf_counter()."""

    predictors: Sequence[Predictor] = ()
    """One for each version that was asked."""


def this_request() -> Request:
    """The request itself: each use of flask's proxy looks it up."""
    return cast(Request, request._get_current_object())  # type: ignore[attr-defined]


class JsonAnswer(Response):
    """A document whose headers are sent as they are: no place in them is a URL, and
    looking for one took 5 % of a request's time."""

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(body, status, headers, content_type="application/json")

    def get_wsgi_headers(self, environ: object) -> Headers:
        return self.headers


def json_answer(document: object, status: int = 200) -> Response:
    return JsonAnswer(orjson.dumps(document), status)

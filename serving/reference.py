"""What the service says of itself: GET /openapi.json, and GET /docs for people."""

from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml
from flask import Blueprint, Flask, Response, render_template, request

from serving.reference_page import Group, groups_of, inline

DOCUMENT = Path(__file__).with_name("openapi.yaml")

WRITTEN_FOR = "http://127.0.0.1:8000"
"""The service of the document's examples."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""The page has neither a script nor a picture."""


def add_reference(app: Flask) -> None:
    routes = Blueprint("reference", __name__)
    routes.add_app_template_filter(inline)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return Response(_json(), mimetype="application/json")

    @routes.get("/docs")
    def docs() -> Response:
        page = render_template(
            "docs.html",
            document=read_document(),
            groups=_groups(),
            written_for=WRITTEN_FOR,
            here=request.host_url.rstrip("/"),
        )
        return Response(page, headers=HEADERS)

    app.register_blueprint(routes)


@cache
def read_document() -> dict[str, Any]:
    """OpenAPI 3.1; read when first asked for: 0.02 s, or 0.2 s without libyaml."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load(DOCUMENT.read_text("utf-8"), loader)
    del document["x-shared"]  # the parts that its aliases repeat
    return document


@cache
def _json() -> bytes:
    return orjson.dumps(read_document())


@cache
def _groups() -> list[Group]:
    return groups_of(read_document())

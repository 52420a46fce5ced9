"""Pages of the service: GET /, GET /docs and GET /openapi.json."""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import yaml
from flask import Blueprint, Flask, Response, render_template, send_from_directory

from serving.http.bodies import MAX_BODY_BYTES

DOCUMENT = Path(__file__).with_name("openapi.yaml")

WRITTEN_FOR = "http://127.0.0.1:8000"
"""The address in the document's examples; the page shows its own instead."""

SWAGGER_UI = str(resources.files("flask_swagger_ui") / "dist")
"""Swagger UI's files. The package's own page is not used: it has a script in line."""

HEADERS = {
    # The browser runs and loads only files of this service; blob: is the picture shown.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",  # after an update, the page and its script fit
}

DOCS_HEADERS = {
    **HEADERS,
    # Swagger UI writes style attributes.
    "Content-Security-Policy": HEADERS["Content-Security-Policy"]
    + "; style-src 'self' 'unsafe-inline'",
}


def add_pages(app: Flask, *, keeps: bool) -> None:
    """Adds the pages, and the files under /static that they are made of.

    `keeps` is whether pictures that people mark are kept.
    """
    pages = Blueprint(
        "pages", __name__, static_folder="static", static_url_path="/static"
    )

    @pages.get("/")
    def page() -> Response:
        text = render_template("index.html", most_bytes=MAX_BODY_BYTES, keeps=keeps)
        return Response(text, headers=HEADERS)

    @pages.get("/openapi.json")
    def openapi() -> Response:
        return Response(_json(), mimetype="application/json")

    @pages.get("/docs")
    def docs() -> Response:
        text = render_template("docs.html", written_for=WRITTEN_FOR)
        return Response(text, headers=DOCS_HEADERS)

    @pages.get("/static/swagger-ui/<path:filename>")
    def swagger_ui(filename: str) -> Response:
        return send_from_directory(SWAGGER_UI, filename)

    @pages.after_request  # of the pages alone: a prediction does not pass here
    def trust_the_type(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    app.register_blueprint(pages)


@cache
def read_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document, with each operation's curl commands in its description.

    Parsing takes 0.02 s, or 0.2 s without libyaml, so it waits for the first request.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document: dict[str, Any] = yaml.load(DOCUMENT.read_text("utf-8"), loader)
    del document["x-shared"]  # the parts that its aliases repeat
    for path in document["paths"].values():
        for operation in path.values():
            if "x-codeSamples" in operation:
                samples = "\n".join(s["source"] for s in operation["x-codeSamples"])
                about = operation.get("description", "")
                operation["description"] = f"{about}\n\n```sh\n{samples.strip()}\n```"
    return document


@cache
def _json() -> bytes:
    return orjson.dumps(read_document())

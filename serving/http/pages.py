"""What the service says of itself: GET /openapi.json, and GET /docs for people."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml
from flask import Blueprint, Flask, Response, render_template, request
from markupsafe import Markup

from serving.http.bodies import MAX_BODY_BYTES

METHODS = ("get", "post", "put", "patch", "delete")

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A parameter, or a key of an object."""

    name: str
    kind: str
    is_required: bool
    about: str
    where: str = ""
    """Of a parameter: query, path or header."""

    depth: int = 0
    """Of a key: how many objects it is in."""


@dataclass(frozen=True)
class Content:
    """One form of a body."""

    media_type: str
    kind: str
    fields: list[Field]
    examples: list[str]

    @property
    def is_plain(self) -> bool:
        """Nothing more is to be said of it."""
        return not self.fields and not self.examples


@dataclass(frozen=True)
class Answer:
    status: str
    about: str
    headers: list[str]
    contents: list[Content]


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    about: str
    scope: str
    """Of the key that it takes where there are keys; empty if none."""

    parameters: list[Field]
    body_about: str
    bodies: list[Content]
    answers: list[Answer]
    samples: list[str]


@dataclass(frozen=True)
class Group:
    """The operations of a tag."""

    name: str
    about: str
    operations: list[Operation]

    @property
    def id(self) -> str:
        return self.name.lower().replace(" ", "-")


def groups_of(document: Json) -> list[Group]:
    """In the document's order."""
    drawer = _Drawer(document)
    operations = [
        (operation["tags"][0], drawer.operation(path, method, operation, item))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    return [
        Group(
            tag["name"],
            tag["description"],
            [drawn for name, drawn in operations if name == tag["name"]],
        )
        for tag in document["tags"]
    ]


class _Drawer:
    """Knows the document in which references point."""

    def __init__(self, document: Json) -> None:
        self._document = document

    def operation(
        self, path: str, method: str, operation: Json, item: Json
    ) -> Operation:
        body = operation.get("requestBody", {})
        security = operation.get("security", self._document["security"])
        return Operation(
            operation["operationId"],
            method.upper(),
            path,
            operation["summary"],
            operation.get("description", ""),
            security[0]["key"][0] if security else "",
            [
                self._parameter(parameter)
                for parameter in (
                    *item.get("parameters", ()),
                    *operation.get("parameters", ()),
                )
            ],
            body.get("description", ""),
            self._contents(body),
            [
                self._answer(status, answer)
                for status, answer in sorted(operation["responses"].items())
            ],
            [sample["source"].strip() for sample in operation["x-codeSamples"]],
        )

    def _parameter(self, parameter: Json) -> Field:
        return Field(
            parameter["name"],
            self._kind(parameter["schema"]),
            parameter.get("required", False),
            parameter.get("description", ""),
            where=parameter["in"],
        )

    def _answer(self, status: str, answer: Json) -> Answer:
        return Answer(
            status,
            answer["description"],
            list(answer.get("headers", ())),
            self._contents(answer),
        )

    def _contents(self, holder: Json) -> list[Content]:
        return [
            Content(
                media_type,
                self._kind(content.get("schema", {})),
                list(self._fields(content.get("schema", {}))),
                list(_examples(content)),
            )
            for media_type, content in holder.get("content", {}).items()
        ]

    def _fields(self, schema: Json, depth: int = 0) -> Iterator[Field]:
        """The keys of an object, or of the objects in a list, and what is in them."""
        schema = self._resolved(schema)
        for part in schema.get("allOf", ()):
            yield from self._fields(part, depth)
        required = schema.get("required", ())
        for name, value in schema.get("properties", {}).items():
            value = self._resolved(value)
            about = value.get("description", "")
            kind = self._kind(value)
            yield Field(name, kind, name in required, about, depth=depth)
            yield from self._fields(value, depth + 1)
        if "items" in schema:
            yield from self._fields(schema["items"], depth)

    def _kind(self, schema: Json) -> str:
        """In a few words: `integer from 1`, `list of string`."""
        schema = self._resolved(schema)
        if "title" in schema:
            return str(schema["title"])
        if "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            return " or ".join(json.dumps(value) for value in values)
        if "oneOf" in schema and "properties" not in schema:
            return " or ".join(self._kind(choice) for choice in schema["oneOf"])
        types = schema.get("type", "")
        kind = types if isinstance(types, str) else " or ".join(types)
        if kind == "array":
            items = self._kind(schema.get("items", {}))
            return f"list of {items}" if items else "list"
        if schema.get("contentEncoding") == "base64":
            return "base64"
        return kind + _bounds(schema)

    def _resolved(self, schema: Json) -> Json:
        if "$ref" not in schema:
            return schema
        found: Json = self._document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return self._resolved(found)


def _bounds(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    default = f", {schema['default']} if left out" if "default" in schema else ""
    if least is None:
        return default
    return f" from {least}{'' if most is None else f' to {most}'}{default}"


def _examples(content: Json) -> Iterator[str]:
    named = [example["value"] for example in content.get("examples", {}).values()]
    for example in [content["example"]] if "example" in content else named:
        if not isinstance(example, str):
            yield json.dumps(example, indent=2, ensure_ascii=False)


def inline(text: str) -> Markup:
    """HTML of a description: `code` in backticks, paragraphs between empty lines."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        pieces = paragraph.split("`")
        pieces[::2] = [Markup.escape(piece) for piece in pieces[::2]]
        pieces[1::2] = [Markup("<code>{}</code>").format(p) for p in pieces[1::2]]
        paragraphs.append(Markup("<p>{}</p>").format(Markup("").join(pieces)))
    return Markup("").join(paragraphs)


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


PAGE_HEADERS = {
    # Only what this service itself sends runs or loads; blob: is the picture shown.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # after an update, the page and its script fit
}


def add_pages(app: Flask) -> None:
    """GET /, and the files under /static that it is made of."""

    @app.get("/")
    def page() -> Response:
        text = render_template("index.html", most_bytes=MAX_BODY_BYTES)
        return Response(text, headers=PAGE_HEADERS)

    @app.after_request
    def trust_the_type(response: Response) -> Response:
        if request.endpoint == "static":
            response.headers["X-Content-Type-Options"] = "nosniff"
        return response

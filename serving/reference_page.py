"""What the reference page shows of an OpenAPI document: flat, references followed."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

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

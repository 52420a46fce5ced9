"""summary.json as a document: written, read, and described by a JSON schema.

`python -m compare.results.document` prints docs/summary.schema.json.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from compare.results.summary import Summary


def write_document(summary: Summary) -> dict[str, object]:
    """The JSON document of summary.json."""
    return asdict(summary)


def read_document(document: Mapping[str, object]) -> Summary:
    """The summary in a document of summary.json; what an older file lacks is None.

    Raises ValueError if it is no summary.
    """
    return _adapter().validate_python(without_nulls(document))


def without_nulls(document: Mapping[str, object]) -> dict[str, object]:
    return {
        key: without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in document.items()
        if value is not None
    }


@cache
def _adapter() -> TypeAdapter[Summary]:
    return TypeAdapter(Summary)


class _EveryField(GenerateJsonSchema):
    """A schema in which every key is required: the file has null, but no gap."""

    def field_is_required(
        self,
        field: core_schema.ModelField
        | core_schema.DataclassField
        | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        return True

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def json_schema() -> JsonSchemaValue:
    """The content of docs/summary.schema.json."""
    schema = _adapter().json_schema(mode="serialization", schema_generator=_EveryField)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))

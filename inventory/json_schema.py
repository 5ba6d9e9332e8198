"""The JSON Schema of an inventory file, made from the table of fields. Printed by `provision schema`."""

from collections.abc import Mapping
from typing import Any

from inventory import fields
from inventory.fields import Field

_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "address": {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    "network": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"},
    "words": {"type": "array", "items": {"type": "string"}},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
}


def inventory_schema() -> dict[str, Any]:
    """Draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hanse inventory",
        "description": "A cluster and its hosts.",
        **_section(fields.CLUSTER),
    }


def _section(known: Mapping[str, Field]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _field(field) for name, field in known.items()},
    }
    if required := [name for name, field in known.items() if field.required]:
        schema["required"] = required
    return schema


def _field(field: Field) -> dict[str, Any]:
    if field.kind == "section":
        schema = _section(field.section or {})
    elif field.kind == "sections":
        schema = {"type": "array", "minItems": 1, "items": _section(field.section or {})}
    else:
        schema = dict(_TYPES[field.kind])
    if field.choices and field.kind == "words":
        schema["items"] = {"enum": list(field.choices)}
    elif field.choices:
        schema["enum"] = list(field.choices)
    if field.pattern:
        schema["pattern"] = f"^{field.pattern}$"
    if field.minimum is not None:
        schema["minimum"] = field.minimum
    if field.maximum is not None:
        schema["maximum"] = field.maximum
    if field.default is not None:
        schema["default"] = field.default
    return {"description": field.meaning, **schema}

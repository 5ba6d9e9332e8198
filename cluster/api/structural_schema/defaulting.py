"""
Filling in what a schema gives as default, and dropping nulls where none may be.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/defaulting.
"""

from collections.abc import Mapping
from typing import Any

from cluster.machinery.objects import copy_object

Schema = Mapping[str, Any]


def apply_defaults(schema: Schema, value: Any) -> None:
    """In place. Runs on what clients send and on what was stored before the schema had its defaults."""
    _default(schema, value)
    _drop_nulls(schema, value)


def has_defaults(schema: Schema) -> bool:
    """Whether any part of it fills in something."""
    if "default" in schema:
        return True
    parts = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return any(has_defaults(part) for part in parts if isinstance(part, dict))


def _is_refused_null(schema: Schema, value: Any) -> bool:
    return value is None and not schema.get("nullable")


def _inner(schema: Schema) -> Schema | None:
    found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else None


def _default(schema: Schema, value: Any) -> None:
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        for name, part in properties.items():
            if part.get("default") is not None and (name not in value or _is_refused_null(part, value[name])):
                value[name] = copy_object(part["default"])
        rest = _inner(schema)
        for name, found in value.items():
            part = properties.get(name)
            if part is None:
                if rest is None:
                    continue
                part = rest
                if _is_refused_null(part, found) and part.get("default") is not None:
                    found = value[name] = copy_object(part["default"])
            _default(part, found)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, found in enumerate(value):
                if _is_refused_null(items, found) and items.get("default") is not None:
                    value[index] = copy_object(items["default"])
                _default(items, value[index])


def _drop_nulls(schema: Schema, value: Any) -> None:
    if isinstance(value, dict):
        properties, rest = schema.get("properties") or {}, _inner(schema)
        for name in list(value):
            part = properties.get(name, rest)
            if part is None:
                continue
            if _is_refused_null(part, value[name]):
                del value[name]
            else:
                _drop_nulls(part, value[name])
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for found in value:
                _drop_nulls(items, found)

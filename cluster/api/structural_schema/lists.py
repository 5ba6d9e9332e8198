"""
Uniqueness in lists that are sets or maps.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/listtype.
"""

from collections.abc import Mapping
from typing import Any

from cluster.api.structural_schema.values import canonical
from cluster.machinery import field_errors
from cluster.machinery.field_errors import FieldError

Schema = Mapping[str, Any]


def validate_lists(schema: Schema, value: Any, path: str = "") -> list[FieldError]:
    """Faults of all sets and maps in the value."""
    errors: list[FieldError] = []
    if isinstance(value, list):
        errors += _check(schema, value, path)
        items = schema.get("items")
        if isinstance(items, dict):
            for index, found in enumerate(value):
                errors += validate_lists(items, found, f"{path}[{index}]")
    elif isinstance(value, dict):
        properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, found in value.items():
            part = properties.get(name)
            if part is not None:
                errors += validate_lists(part, found, f"{path}.{name}" if path else name)
            elif isinstance(rest, dict):
                errors += validate_lists(rest, found, f"{path}[{name}]")
    return errors


def _check(schema: Schema, items: list[Any], path: str) -> list[FieldError]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return []
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    defaults = {key: part.get("default") for key, part in ((schema.get("items") or {}).get("properties") or {}).items()}
    seen: set[bytes] = set()
    errors: list[FieldError] = []
    for index, item in enumerate(items):
        shown = item
        if kind == "map":
            if not isinstance(item, dict):
                continue
            shown = {key: item.get(key, defaults.get(key)) for key in sorted(keys)}
            shown = {key: value for key, value in shown.items() if value is not None}
        text = canonical(shown)
        if text in seen:
            errors.append(field_errors.duplicate(f"{path}[{index}]", shown))
        seen.add(text)
    return errors

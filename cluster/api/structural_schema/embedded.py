"""
Whole objects inside custom resources: they need a type, like any other.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/objectmeta/validation.go.
"""

from collections.abc import Mapping
from typing import Any

from cluster.machinery import field_errors
from cluster.machinery.field_errors import FieldError

Schema = Mapping[str, Any]


def validate_embedded(schema: Schema, value: Any, path: str = "") -> list[FieldError]:
    """Faults of all objects whose schema has x-kubernetes-embedded-resource."""
    errors: list[FieldError] = []
    if isinstance(value, dict):
        if schema.get("x-kubernetes-embedded-resource"):
            missing = [name for name in ("apiVersion", "kind") if not value.get(name)]
            errors += [field_errors.required(f"{path}.{name}", "must not be empty") for name in missing]
        properties, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, found in value.items():
            part = properties.get(name)
            if part is not None:
                errors += validate_embedded(part, found, f"{path}.{name}" if path else name)
            elif isinstance(rest, dict):
                errors += validate_embedded(rest, found, f"{path}[{name}]")
    elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
        for index, found in enumerate(value):
            errors += validate_embedded(items, found, f"{path}[{index}]")
    return errors

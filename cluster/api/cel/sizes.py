"""
How large a value of a schema can be at most, and how many there can be of it: what estimates of cost start from.

Source: k8s.io/apiserver, pkg/cel/common/schemas.go (estimateMax…FromMinSize); pkg/cel/limits.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]

REQUEST_BYTES = 3 * 1024 * 1024
UNBOUNDED = 2**64 - 1
_FORMAT_LENGTHS = {"date": 12, "date-time": 21, "duration": 32}
_EMPTY: Schema = {}


def product(left: int, right: int) -> int:
    return min(left * right, UNBOUNDED)


def total(*parts: int) -> int:
    return min(sum(parts), UNBOUNDED)


@dataclass(frozen=True, slots=True)
class Sized:
    """The bounds of a value: of its length, and of what is in it."""

    size: int = 1
    schema: Schema = field(default_factory=dict)
    element: "Sized | None" = None
    """Of a list's items or a map's values, where there is no schema."""
    keys: "Sized | None" = None
    """Of a map: of its keys, which its macros go through."""
    textual: bool = False

    def item(self) -> "Sized":
        """One of a list's items or a map's values."""
        if self.element is not None:
            return self.element
        for key in ("items", "additionalProperties"):
            if isinstance(inner := self.schema.get(key), dict):
                return of_schema(inner)
        return UNKNOWN

    def field(self, name: str) -> "Sized":
        inner = (self.schema.get("properties") or {}).get(name)
        return of_schema(inner) if isinstance(inner, dict) else self.item()


UNKNOWN = Sized(UNBOUNDED)
_KEY = Sized(REQUEST_BYTES - 2, textual=True)


def of_schema(schema: Schema) -> Sized:
    if schema.get("x-kubernetes-int-or-string"):
        return Sized(REQUEST_BYTES - 2, schema, textual=True)
    match schema.get("type"):
        case "string":
            return Sized(
                _text_size(schema), schema, textual=schema.get("format") not in ("date", "date-time", "duration")
            )
        case "array":
            inner = schema.get("items") or _EMPTY
            return Sized(int(schema.get("maxItems", (REQUEST_BYTES - 2) // (min_bytes(inner) + 1))), schema)
        case "object" if isinstance(inner := schema.get("additionalProperties"), dict):
            most = int(schema.get("maxProperties", (REQUEST_BYTES - 2) // (min_bytes(inner) + 6)))
            return Sized(most, schema, keys=_KEY)
        case "object":
            return Sized(len(schema.get("properties") or ()) or 1, schema)
        case "integer" | "number" | "boolean":
            return Sized(1, schema)
        case _:
            return Sized(UNBOUNDED, schema)


def _text_size(schema: Schema) -> int:
    if (most := schema.get("maxLength")) is not None:
        return int(most)
    if values := schema.get("enum"):
        return max(len(str(value)) for value in values)
    return _FORMAT_LENGTHS.get(str(schema.get("format")), REQUEST_BYTES - 2)


def min_bytes(schema: Schema) -> int:
    """The fewest bytes that a value takes in JSON."""
    match schema.get("type"):
        case "boolean":
            return 4
        case "string":
            shortest = _FORMAT_LENGTHS.get(str(schema.get("format")))
            return 2 if shortest is None else shortest
        case "array":
            return 2
        case "object":
            properties = schema.get("properties") or {}
            required = (name for name in schema.get("required") or () if name in properties)
            return 2 + sum(
                len(name) + 4 + min_bytes(properties[name]) for name in required if "default" not in properties[name]
            )
        case _:
            return 1


def most_of(schema: Schema) -> int:
    """How many values of a schema fit into one request."""
    return REQUEST_BYTES // (min_bytes(schema) + 1)

"""
What an object of a kind looks like: its fields, and how lists and maps in it merge.

A shape is compiled, field by field when first asked for, from an OpenAPI schema with the `x-kubernetes-` extensions;
the same for built-in kinds and for CRDs. Two keys are ours, written by `cluster.api.build_schema`:
`x-presence` (what an absent field means, see Field) and `x-go` (the type's name in error texts).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from cluster.machinery.objects import Object

ALWAYS = "always"
NONZERO = "nonzero"
NONNULL = "nonnull"

_NAMED_FORMATS = {"date-time": "time", "byte": "bytes", "quantity": "quantity", "int-or-string": "int-or-string",
                  "micro-time": "micro-time", "double": "number"}  # fmt: skip
_SCALARS = {"string": "string", "boolean": "boolean", "integer": "integer", "number": "number"}


class Field(NamedTuple):
    shape: "Shape"
    presence: str = NONNULL
    """
    Which values are written: `nonnull` all but null (a Go pointer), `nonzero` also not empty or zero,
    `always` even when the client left it out (a Go struct inside another).
    """
    patch_strategy: str = ""
    """Of a strategic merge patch: comma-separated `merge`, `replace`, `retainKeys`."""
    merge_key: str = ""


class Shaped(Protocol):
    """Whatever knows the shape of its objects: `cluster.api.resources.Resource`."""

    @property
    def api_version(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def shape(self) -> "Shape": ...


Resolve = Callable[[str], "Shape"]

# What an object inside another has besides its own fields.
_EMBEDDED: Mapping[str, Any] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"$ref": "meta.v1.ObjectMeta"},
}


class Shape:
    """One type. `kind` is object, map, list, any, or a scalar: string, integer, number, boolean, time, quantity …"""

    __slots__ = (
        "_always",
        "_element",
        "_fields",
        "_resolve",
        "_schema",
        "_zero",
        "atomic",
        "defaults",
        "go",
        "keys",
        "kind",
        "lenient",
        "list_type",
        "preserves",
    )  # fmt: skip

    def __init__(self, schema: Mapping[str, Any], resolve: Resolve) -> None:
        self._schema = schema
        self._resolve = resolve
        self._fields: dict[str, Field] | None = None
        self._element: Shape | None = None
        self._always: tuple[tuple[str, Field], ...] | None = None
        self._zero: Object | None = None
        self.kind = _kind(schema)
        self.go: str = schema.get("x-go", "")
        """`v1.PodSpec`, `int32`."""
        self.list_type: str = schema.get("x-kubernetes-list-type", "atomic") if self.kind == "list" else ""
        """Of a list: atomic, set or map."""
        self.keys: tuple[str, ...] = tuple(sorted(schema.get("x-kubernetes-list-map-keys", ())))
        """Of a list that is a map: the fields that tell items apart, sorted."""
        self.atomic = schema.get("x-kubernetes-map-type") == "atomic" or (
            self.kind == "list" and self.list_type == "atomic"
        )
        """Owned and replaced as a whole."""
        self.defaults: Mapping[str, Any] = schema.get("x-key-defaults", {})
        """Of a list that is a map: values of keys that an item leaves out."""
        self.preserves = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        """Unknown fields stay."""
        self.lenient = bool(schema.get("x-lenient"))
        """Wrong types are left for validation to name: custom resources."""

    @property
    def fields(self) -> dict[str, Field]:
        """Of an object, and of what may be an object or something else; empty otherwise."""
        if self._fields is None:
            properties = self._schema.get("properties") or {}
            if self._schema.get("x-kubernetes-embedded-resource"):
                properties = {**_EMBEDDED, **properties, "metadata": _EMBEDDED["metadata"]}
            self._fields = {name: self._field(schema) for name, schema in properties.items()}
        return self._fields

    @property
    def element(self) -> "Shape":
        """Of a list's items or a map's values; anything when the schema does not say."""
        if self._element is None:
            inner = self._schema.get("items") if self.kind == "list" else self._schema.get("additionalProperties")
            self._element = self._compile(inner) if isinstance(inner, dict) else ANY
        return self._element

    @property
    def schema(self) -> Mapping[str, Any]:
        """What it was compiled from: CRD validation and defaulting read more of it."""
        return self._schema

    def _compile(self, schema: Mapping[str, Any]) -> "Shape":
        reference = schema.get("$ref")
        if reference:
            return self._resolve(reference)
        if self.lenient and "x-lenient" not in schema:
            schema = {**schema, "x-lenient": True}
        return Shape(schema, self._resolve)

    def _field(self, schema: Mapping[str, Any]) -> Field:
        return Field(
            self._compile(schema),
            schema.get("x-presence", NONNULL),
            schema.get("x-kubernetes-patch-strategy", ""),
            schema.get("x-kubernetes-patch-merge-key", ""),
        )

    @property
    def always(self) -> tuple[tuple[str, Field], ...]:
        """Fields that are written even when the client left them out."""
        if self._always is None:
            self._always = tuple((name, field) for name, field in self.fields.items() if field.presence == ALWAYS)
        return self._always

    @property
    def zero(self) -> Object:
        """What Go's zero value of the struct is in JSON. Shared: not to be changed."""
        if self._zero is None:
            self._zero = zero_object(self)
        return self._zero

    def child(self, name: str) -> "Shape":
        """The shape of what is under this key of an object or map."""
        if self.kind == "object":
            field = self.fields.get(name)
            return field.shape if field is not None else ANY
        return self.element if self.kind == "map" else ANY

    def __repr__(self) -> str:
        return f"Shape({self.go or self.kind})"


def _kind(schema: Mapping[str, Any]) -> str:
    if schema.get("x-also-any"):
        return "any"
    if schema.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    named = _NAMED_FORMATS.get(schema.get("format", ""))
    declared = schema.get("type")
    if named and (declared in (None, "string", "number") and not schema.get("x-lenient")):
        return named
    if declared in _SCALARS:
        return _SCALARS[declared]
    if declared == "array":
        return "list"
    if "properties" in schema or schema.get("x-kubernetes-embedded-resource"):
        return "object"
    if schema.get("additionalProperties"):
        return "map"
    if declared == "object" and not schema.get("x-kubernetes-preserve-unknown-fields") and schema.get("x-lenient"):
        return "object"
    return "any"


def _nothing(reference: str) -> "Shape":
    raise KeyError(reference)


ANY = Shape({}, _nothing)


def zero_object(shape: Shape) -> Object:
    """What Go's zero value of a struct is in JSON: fields that are always there, empty lists as null."""
    found: Object = {}
    for name, field in shape.fields.items():
        if field.presence == ALWAYS:
            found[name] = zero_value(field.shape)
    return found


def zero_value(shape: Shape) -> Any:
    match shape.kind:
        case "object":
            return zero_object(shape)
        case "string" | "bytes":
            return ""
        case "integer" | "number" | "int-or-string":
            return 0
        case "boolean":
            return False
        case "quantity":
            return "0"
        case _:
            return None

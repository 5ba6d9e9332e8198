"""
Shapes of every kind that is served: the built-in ones from the generated file, those of CRDs as they come.

Who needs them: the write path (strict validation, canonical form), strategic merge, server-side apply.
The generated file is read on first use (2 ms); a kind's fields are compiled when they are first asked for.
"""

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson

from cluster.machinery import typed
from cluster.machinery.json_document import go_kind
from cluster.machinery.objects import Object
from cluster.machinery.shapes import ANY, Shape
from cluster.machinery.status_errors import BadRequest

_GENERATED = Path(__file__).parent / "generated"
_OBJECT_META = "meta.v1.ObjectMeta"
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
"""Upstream's error texts name the source line of its type registry; clients have seen no other."""


class TypeMeta(Protocol):
    """`cluster.api.resources.Resource`, or a Kind for what only exists below a resource: Scale, Eviction."""

    @property
    def api_version(self) -> str: ...

    @property
    def kind(self) -> str: ...


class Undecodable(BadRequest):
    """The body does not fit its kind. `cause` is Go's text alone, for patches that wrap it differently."""

    def __init__(self, kind: str, version: str, expected: str, cause: str) -> None:
        super().__init__(f'{kind} in version "{version}" cannot be handled as a {expected}: {cause}')
        self.cause = cause


class Schemas:
    """All shapes. Those of CRDs are added and removed while serving; reads need no lock."""

    def __init__(self, generated: Path = _GENERATED) -> None:
        try:
            content = orjson.loads((generated / "shapes.json").read_bytes())
        except FileNotFoundError:
            raise RuntimeError(
                f"{generated}/shapes.json is not there; make it with: python -m cluster.api.build_schema"
            ) from None
        self._types: Mapping[str, Mapping[str, Any]] = content["types"]
        self._kinds: Mapping[str, str] = content["kinds"]
        self._shapes: dict[str, Shape] = {}
        self._built_in: dict[tuple[str, str], Shape] = {}
        self._custom: dict[tuple[str, str], Shape] = {}
        self._lock = threading.Lock()

    def type_shape(self, name: str) -> Shape:
        """The shape of a type by its short name, `core.v1.PodSpec`. Raises KeyError."""
        found = self._shapes.get(name)
        if found is None:
            found = self._shapes[name] = Shape(self._types[name], self.type_shape)
        return found

    def type_schema(self, name: str) -> Mapping[str, Any]:
        """The schema of a type, its parts under `$ref` by name. Raises KeyError."""
        return self._types[name]

    def type_name(self, api_version: str, kind: str) -> str | None:
        """The type of a built-in kind: `apps/v1`, `Deployment` -> `apps.v1.Deployment`."""
        return self._kinds.get(f"{api_version}/{kind}")

    def is_known(self, api_version: str, kind: str) -> bool:
        return (api_version, kind) in self._custom or f"{api_version}/{kind}" in self._kinds

    def shape(self, api_version: str, kind: str) -> Shape:
        """Of a kind; ANY for one nobody serves, so that its objects pass unchanged."""
        return self._known(api_version, kind) or ANY

    def _known(self, api_version: str, kind: str) -> Shape | None:
        found = self._custom.get((api_version, kind)) or self._built_in.get((api_version, kind))
        if found is None:
            name = self._kinds.get(f"{api_version}/{kind}")
            if name is not None:
                found = self._built_in[api_version, kind] = self.type_shape(name)
        return found

    def add_custom(self, api_version: str, kind: str, schema: Mapping[str, Any]) -> Shape:
        """A CRD's version is served from now on. `schema` is its openAPIV3Schema."""
        properties = {
            **(schema.get("properties") or {}),
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": _OBJECT_META},
        }
        shape = Shape({**schema, "type": "object", "properties": properties, "x-lenient": True}, self.type_shape)
        with self._lock:
            self._custom = {**self._custom, (api_version, kind): shape}
        return shape

    def remove_custom(self, api_version: str, kind: str) -> None:
        with self._lock:
            self._custom = {key: shape for key, shape in self._custom.items() if key != (api_version, kind)}

    def normalize(self, expected: TypeMeta, obj: Object) -> list[str]:
        """
        Bring a decoded body into its kind's canonical form, in place.

        Unknown fields are dropped and returned as strict faults; a missing apiVersion or kind is filled in.
        Raises Undecodable for a value of the wrong type or another kind than expected.
        """
        version, kind = self._type_meta(expected, obj)
        short_version = version.rpartition("/")[2]
        shape = self._known(version, kind)
        if shape is None:
            if (version, kind) == (expected.api_version, expected.kind):
                return []
            shown = version.rpartition("/")[0] + "/" + short_version if "/" in version else version
            cause = f'no kind "{kind}" is registered for version "{shown}" in scheme "{_SCHEME}"'
            raise Undecodable(kind, short_version, expected.kind, cause)
        try:
            faults = typed.normalize(shape, obj)
        except typed.TypeFault as fault:
            raise Undecodable(kind, short_version, expected.kind, str(fault)) from None
        if version != expected.api_version:
            raise BadRequest(
                f"the API version in the data ({version}) does not match the expected API version "
                f"({expected.api_version})"
            )
        if kind != expected.kind:
            group = (expected.api_version.rpartition("/")[0] or "core").partition(".")[0]
            cause = f"converting ({short_version}.{kind}) to ({group}.{expected.kind}): unknown conversion"
            raise Undecodable(kind, short_version, expected.kind, cause)
        return faults

    def _type_meta(self, expected: TypeMeta, obj: Object) -> tuple[str, str]:
        found = []
        for name, default in (("apiVersion", expected.api_version), ("kind", expected.kind)):
            value = obj.get(name)
            if value is None or value == "":
                value = obj[name] = default
            if not isinstance(value, str):
                raise BadRequest(
                    f"the object provided is unrecognized (must be of type {expected.kind}): couldn't get "
                    f"version/kind; json parse error: json: cannot unmarshal {go_kind(value)} into Go struct field "
                    f".{name} of type string"
                )
            found.append(value)
        return found[0], found[1]


def strict_fault(expected: TypeMeta, faults: Sequence[str]) -> BadRequest:
    """What fieldValidation=Strict answers for unknown and duplicate fields."""
    version = expected.api_version.rpartition("/")[2]
    listed = ", ".join(faults)
    return BadRequest(
        f'{expected.kind} in version "{version}" cannot be handled as a {expected.kind}: '
        f"strict decoding error: {listed}"
    )


@functools.cache
def schemas() -> Schemas:
    """The one collection of this process."""
    return Schemas()

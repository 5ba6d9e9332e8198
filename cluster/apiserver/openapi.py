"""
/openapi/v3 and /openapi/v2: what kubectl explains, validates and patches by.

Documents are built when they are first asked for and kept as bytes; the definitions they are built from are read from
the generated file each time and not kept (1.2 MB of text, eight times that as objects).
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from cluster import settings
from cluster.api import schema as api_schema
from cluster.api.resources import Resource
from cluster.apiserver import openapi_paths
from cluster.apiserver.discovery import Document
from cluster.apiserver.openapi_paths import STATUS, Names
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotAcceptable

VERSION = f"v{settings.KUBERNETES_VERSION}"
_INFO = {"title": "Kubernetes", "version": VERSION}
_DEFINITIONS = Path(api_schema.__file__).parent / "generated" / "openapi.json"
_META = openapi_paths.META
_SECURITY = {"BearerToken": {"description": "Bearer token", "type": "apiKey", "name": "authorization", "in": "header"}}
_OLD_REFERENCE, _NEW_REFERENCE = "#/definitions/", "#/components/schemas/"
# Version 2 has no words for these.
_NOT_IN_VERSION_2 = frozenset(
    {"allOf", "anyOf", "default", "not", "nullable", "oneOf", "x-kubernetes-embedded-resource"}
    | {"x-kubernetes-validations"}
)

CustomSchemas = Mapping[tuple[str, str, str], Mapping[str, Any]]
"""openAPIV3Schema of each served version of each CRD, by group, version and kind."""


class OpenApi:
    """All documents for one list of resources; made anew when the list changes."""

    def __init__(self, resources: Iterable[Resource], custom: CustomSchemas | None = None) -> None:
        self._custom = dict(custom or {})
        self._by_path: dict[str, list[Resource]] = {}
        for resource in resources:
            self._by_path.setdefault(resource.root.removeprefix("/"), []).append(resource)
        self._documents: dict[str, Document] = {}

    @functools.cached_property
    def index(self) -> Document:
        """GET /openapi/v3: where each group version's document is."""
        paths = {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._hash(path)}"} for path in sorted(self._by_path)
        }
        return Document.of({"paths": paths})

    def document(self, path: str) -> Document | None:
        """GET /openapi/v3/PATH, e.g. `api/v1`, `apis/apps/v1`; None for one that is not served."""
        if path not in self._by_path:
            return None
        found = self._documents.get(path)
        if found is None:
            body = orjson.dumps(self._version_3(path))
            found = self._documents[path] = Document(body, f'"{self._hash(path)}"')
        return found

    @functools.cached_property
    def version_2(self) -> Document:
        """GET /openapi/v2, as JSON."""
        definitions = _load()
        names = self._add_custom(definitions)
        paths: Object = {}
        for resources in self._by_path.values():
            for resource in resources:
                for operation in openapi_paths.operations(resource, names, custom=self._is_custom(resource)):
                    paths.setdefault(operation.path, {})[operation.method] = openapi_paths.version_2(operation)
        content = {
            "swagger": "2.0",
            "info": _INFO,
            "paths": dict(sorted(paths.items())),
            "definitions": {name: _for_version_2(one) for name, one in sorted(definitions.items())},
            "securityDefinitions": _SECURITY,
            "security": [{"BearerToken": []}],
        }
        return Document.of(content)

    def _is_custom(self, resource: Resource) -> bool:
        return (resource.group, resource.version, resource.kind) in self._custom

    @functools.cache  # noqa: B019  # an OpenApi lives as long as its documents are served
    def _hash(self, path: str) -> str:
        """Of what a document is made from, so that the index needs none of them built."""
        digest = hashlib.sha512(f"{VERSION} {_DEFINITIONS.stat().st_size} {_digest_of_definitions()}".encode())
        for resource in self._by_path[path]:
            kind = (resource.group, resource.version, resource.kind)
            digest.update(f"{kind} {sorted(resource.verbs)} {[sub.name for sub in resource.subresources]}".encode())
            digest.update(orjson.dumps(self._custom.get(kind), option=orjson.OPT_SORT_KEYS))
        return digest.hexdigest().upper()

    def _version_3(self, path: str) -> Object:
        definitions = _load()
        names = self._add_custom(definitions)
        paths: Object = {}
        used = {STATUS}
        for resource in self._by_path[path]:
            for operation in openapi_paths.operations(resource, names, custom=self._is_custom(resource)):
                paths.setdefault(operation.path, {})[operation.method] = openapi_paths.version_3(operation)
                used |= {name for name in (operation.answer, operation.body) if name}
        schemas = {name: _for_version_3(definitions[name]) for name in sorted(_closure(used, definitions))}
        return {
            "openapi": "3.0.0",
            "info": _INFO,
            "paths": dict(sorted(paths.items())),
            "components": {"schemas": schemas, "securitySchemes": _SECURITY},
        }

    def _add_custom(self, definitions: Object) -> Names:
        for kind, schema in self._custom.items():
            name = _custom_name(*kind)
            definitions[name] = _custom_definition(kind, schema)
            definitions[f"{name}List"] = _custom_list(kind, name)
        by_kind: dict[tuple[str, str, str], str] = {}
        for name, definition in definitions.items():
            kinds = definition.get("x-kubernetes-group-version-kind", ())
            for entry in kinds:
                key = (entry["group"], entry["version"], entry["kind"])
                if len(kinds) == 1 or key not in by_kind:
                    by_kind[key] = name
        return Names(by_kind)


def _load() -> Object:
    definitions: Object = orjson.loads(_DEFINITIONS.read_bytes())
    return definitions


@functools.cache
def _digest_of_definitions() -> str:
    return hashlib.sha256(_DEFINITIONS.read_bytes()).hexdigest()


def _closure(names: Iterable[str], definitions: Mapping[str, Any]) -> set[str]:
    """The definitions and all that they refer to."""
    found: set[str] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name not in found and name in definitions:
            found.add(name)
            open_names.extend(_references(definitions[name]))
    return found


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_OLD_REFERENCE)
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _for_version_3(node: Any) -> Any:
    """References point elsewhere, and one that has a description of its own is wrapped: it may have no siblings."""
    if isinstance(node, list):
        return [_for_version_3(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "int-or-string" and node.get("type") == "string":
        rest = {key: value for key, value in node.items() if key != "type"}
        return {**rest, "oneOf": [{"type": "integer"}, {"type": "string"}]}
    reference = node.get("$ref")
    if isinstance(reference, str):
        moved = {"$ref": reference.replace(_OLD_REFERENCE, _NEW_REFERENCE)}
        others = {key: value for key, value in node.items() if key != "$ref"}
        return {**others, "allOf": [moved]} if others else moved
    return {key: _for_version_3(value) for key, value in node.items()}


def _for_version_2(node: Any, *, is_fields: bool = False) -> Any:
    if isinstance(node, list):
        return [_for_version_2(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _for_version_2(value, is_fields=key == "properties" and not is_fields)
        for key, value in node.items()
        if is_fields or key not in _NOT_IN_VERSION_2
    }


def _custom_name(group: str, version: str, kind: str) -> str:
    """`g.example.com`, `v1`, `Ship` -> `com.example.g.v1.Ship`."""
    return ".".join([*reversed(group.split(".")), version, kind])


def _gvk(kind: tuple[str, str, str]) -> list[Object]:
    return [{"group": kind[0], "kind": kind[2], "version": kind[1]}]


_TYPE_META: Mapping[str, Object] = {
    "apiVersion": {"description": "Group and version of this object's schema.", "type": "string"},
    "kind": {"description": "What this object is.", "type": "string"},
}


def _custom_definition(kind: tuple[str, str, str], schema: Mapping[str, Any]) -> Object:
    meta = {"description": "Name, labels and the like.", "$ref": f"{_OLD_REFERENCE}{_META}.ObjectMeta"}
    properties = {**(schema.get("properties") or {}), **_TYPE_META, "metadata": meta}
    return {**schema, "type": "object", "properties": properties, "x-kubernetes-group-version-kind": _gvk(kind)}


def _custom_list(kind: tuple[str, str, str], name: str) -> Object:
    items = {"description": f"List of {kind[2]}.", "type": "array", "items": {"$ref": f"{_OLD_REFERENCE}{name}"}}
    meta = {"description": "Version and continuation of the list.", "$ref": f"{_OLD_REFERENCE}{_META}.ListMeta"}
    return {
        "description": f"{kind[2]}List is a list of {kind[2]}",
        "type": "object",
        "required": ["items"],
        "properties": {**_TYPE_META, "items": items, "metadata": meta},
        "x-kubernetes-group-version-kind": _gvk((kind[0], kind[1], f"{kind[2]}List")),
    }


@functools.lru_cache(maxsize=2)
def built_in_documents(resources: tuple[Resource, ...]) -> OpenApi:
    """The documents for this list of resources; the same ones as long as the list is the same."""
    return OpenApi(resources)


def serve(path: str, accept: str, resources: tuple[Resource, ...], documents: OpenApi | None = None) -> Document | None:
    """
    The answer to a GET of `/openapi/…`; None when nothing is there.

    Args:
        documents: those that describe custom resources too; by default the built-in ones alone.

    Raises NotAcceptable for a client that wants protobuf and nothing else: openapi_protobuf makes that, of version 2.
    """
    if "protobuf" in accept and "json" not in accept and "*/*" not in accept:
        raise NotAcceptable("406: Not Acceptable\n\nAvailable representations: application/json", details={})
    found = documents or built_in_documents(resources)
    match path.strip("/").split("/", 2):
        case ["openapi", "v2"]:
            return found.version_2
        case ["openapi", "v3"]:
            return found.index
        case ["openapi", "v3", group_version]:
            return found.document(group_version)
        case _:
            return None

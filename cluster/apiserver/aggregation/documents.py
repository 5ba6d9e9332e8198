"""
What other servers say they serve, as parts of our own documents: discovery and both forms of OpenAPI. Pure.

What comes from outside is taken as far as it has the right shape and belongs to the group version that was asked for.
Source: k8s.io/kube-aggregator, pkg/apiserver/handler_discovery.go, pkg/controllers/{openapi,openapiv3}.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from cluster.apiserver.discovery import Document
from cluster.machinery.objects import Object

AGGREGATED_ACCEPT = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
_DEFINITION = "#/definitions/"
_DEPTH_LIMIT = 128


def resources_of(body: bytes, group: str, version: str) -> tuple[Object, ...] | None:
    """Entries of one group version from a server's aggregated discovery; None when it has none or is no such thing."""
    listed = _parsed(body)
    if listed.get("kind") != "APIGroupDiscoveryList":
        return None
    for item in _dicts(listed.get("items")):
        metadata = item.get("metadata")
        if (metadata.get("name", "") if isinstance(metadata, dict) else "") != group:
            continue
        for one in _dicts(item.get("versions")):
            if one.get("version") == version:
                return tuple(_dicts(one.get("resources")))
    return None


def resources_of_list(body: bytes, group: str, version: str) -> tuple[Object, ...] | None:
    """The same from an APIResourceList, where subresources are entries of their own."""
    listed = _parsed(body)
    if listed.get("kind") != "APIResourceList":
        return None
    found: dict[str, Object] = {}
    entries = [entry for entry in _dicts(listed.get("resources")) if isinstance(entry.get("name"), str)]
    for entry in sorted(entries, key=lambda entry: "/" in entry["name"]):
        name, _, subresource = entry["name"].partition("/")
        answers = {
            "group": entry.get("group") or group,
            "version": entry.get("version") or version,
            "kind": entry.get("kind") or "",
        }
        if subresource:
            parent = found.setdefault(name, {"resource": name, "verbs": [], **_scope(entry)})
            part = {"subresource": subresource, "responseKind": answers, "verbs": _words(entry.get("verbs"))}
            parent.setdefault("subresources", []).append(part)
            continue
        found[name] = {
            "resource": name,
            "responseKind": answers,
            **_scope(entry),
            "singularResource": entry.get("singularName") or "",
            "verbs": _words(entry.get("verbs")),
            **{key: _words(entry[key]) for key in ("shortNames", "categories") if entry.get(key)},
        }
    return tuple(found.values())


def _scope(entry: Mapping[str, Any]) -> Object:
    return {"scope": "Namespaced" if entry.get("namespaced") else "Cluster"}


def _parsed(body: bytes) -> Object:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _dicts(value: Any) -> list[Object]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _words(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


# OpenAPI, version 3: an index whose entries lead to the other server.


def index_entries(body: bytes, group: str, version: str) -> Object:
    """The other server's entries of one group version: path -> {"serverRelativeURL": …}."""
    paths = _parsed(body).get("paths")
    wanted = f"apis/{group}/{version}" if group else f"api/{version}"
    entry = paths.get(wanted) if isinstance(paths, dict) else None
    url = entry.get("serverRelativeURL") if isinstance(entry, dict) else None
    if not isinstance(url, str) or not url.startswith(f"/openapi/v3/{wanted}"):
        return {}
    return {wanted: {"serverRelativeURL": url}}


def merge_index(own: Document, entries: Iterable[Object], replaced: Iterable[str]) -> Document:
    """`replaced`: paths that others serve; ours, if there are any, are out of date."""
    content = orjson.loads(own.body)
    for path in replaced:
        content["paths"].pop(path, None)
    for entry in entries:
        content["paths"].update(entry)
    return Document.of({"paths": dict(sorted(content["paths"].items()))})


# OpenAPI, version 2: one document, into which the other server's part has to be put.


def version_2_part(body: bytes, group: str, version: str) -> bytes:
    """Paths of one group version and the definitions that they need, as JSON; empty when there are none."""
    document = _parsed(body)
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    listed, definitions = document.get("paths"), document.get("definitions")
    if not isinstance(listed, dict) or not isinstance(definitions, dict):
        return b""
    paths = {path: one for path, one in listed.items() if path.rstrip("/") == root or path.startswith(f"{root}/")}
    if not paths:
        return b""
    needed: dict[str, Any] = {}
    waiting = [*_references(paths), *_of_kind(definitions, group, version)]
    while waiting:
        name = waiting.pop()
        if name not in needed and name in definitions:
            needed[name] = definitions[name]
            waiting.extend(_references(definitions[name]))
    return b"" if _is_deep([paths, needed]) else orjson.dumps({"paths": paths, "definitions": needed})


def _is_deep(level: list[Any]) -> bool:
    """Nested further than any honest schema: what walks such a document would run out of stack."""
    for _ in range(_DEPTH_LIMIT):
        below: list[Any] = []
        for node in level:
            below.extend(node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
        if not below:
            return False
        level = below
    return True


def _of_kind(definitions: Mapping[str, Any], group: str, version: str) -> Iterator[str]:
    for name, definition in definitions.items():
        kinds = definition.get("x-kubernetes-group-version-kind") if isinstance(definition, dict) else None
        if any(kind.get("group") == group and kind.get("version") == version for kind in _dicts(kinds)):
            yield name


def _references(node: Any) -> Iterator[str]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            reference = one.get("$ref")
            if isinstance(reference, str) and reference.startswith(_DEFINITION):
                yield reference.removeprefix(_DEFINITION)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def merge_version_2(own: Document, parts: Iterable[bytes]) -> Document:
    """Definitions that both have under one name count as the same when they are; else the other's gets a new name."""
    content = orjson.loads(own.body)
    paths, definitions = content["paths"], content["definitions"]
    for part in parts:
        theirs = _parsed(part)
        renamed = {name: _free_name(name, one, definitions) for name, one in theirs.get("definitions", {}).items()}
        for name, one in theirs.get("definitions", {}).items():
            definitions.setdefault(renamed[name], _with_names(one, renamed))
        for path, one in theirs.get("paths", {}).items():
            paths.setdefault(path, _with_names(one, renamed))
    content["paths"], content["definitions"] = dict(sorted(paths.items())), dict(sorted(definitions.items()))
    return Document.of(content)


def _free_name(name: str, definition: Any, taken: Mapping[str, Any]) -> str:
    """Of the shared definitions (metadata and the like) ours stand for theirs, however much the texts differ."""
    if name not in taken or taken[name] == definition or name.startswith("io.k8s.apimachinery."):
        return name
    return next(f"{name}_v{number}" for number in range(2, 1 << 30) if f"{name}_v{number}" not in taken)


def _with_names(node: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_with_names(one, renamed) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: _with_names(value, renamed) for key, value in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith(_DEFINITION):
        name = reference.removeprefix(_DEFINITION)
        found["$ref"] = _DEFINITION + renamed.get(name, name)
    return found

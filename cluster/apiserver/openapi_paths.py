"""
The operations of a resource, as OpenAPI describes them: paths, parameters, bodies, answers.

One description, written twice: as version 3 (a document a group version) and as version 2 (one for everything).
kubectl looks in a patch operation for its kind, for the query parameter `fieldValidation` and for the media types.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.api.resources import Resource, Subresource
from cluster.machinery.objects import Object

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
STATUS = f"{META}.Status"
DELETE_OPTIONS = f"{META}.DeleteOptions"
PATCH = f"{META}.Patch"
_ANSWER = "application/json"
_PATCH_TYPES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"

_PARAMETERS: Mapping[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Send BOOKMARK events while watching."),
    "continue": ("string", "Where to go on, from the previous page's metadata.continue."),
    "dryRun": ("string", "All: do everything but store the result."),
    "fieldManager": ("string", "Who becomes owner of the fields that this request changes."),
    "fieldSelector": ("string", "Only objects whose fields match."),
    "fieldValidation": ("string", "What to do about unknown and duplicate fields: Ignore, Warn or Strict."),
    "force": ("boolean", "Apply: take fields over that other managers own."),
    "gracePeriodSeconds": ("integer", "Seconds until the object is deleted; 0 is at once."),
    "labelSelector": ("string", "Only objects whose labels match."),
    "limit": ("integer", "At most so many objects a page."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "pretty": ("string", "Indent the answer when true."),
    "propagationPolicy": ("string", "What happens to dependents: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "How old the answer may be."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Begin a watch with all objects as they are."),
    "timeoutSeconds": ("integer", "End of the list or watch at the latest."),
    "watch": ("boolean", "Stream changes instead of listing."),
}
_LIST = ("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "pretty", "resourceVersion",
         "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch")  # fmt: skip
_WRITE = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_APPLY = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "pretty", "propagationPolicy")
_DELETE_ALL = tuple(sorted({*_LIST, *_DELETE} - {"allowWatchBookmarks", "watch"}))
_READ = ("pretty",)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    action: str
    """`x-kubernetes-action`: list, post, get, put, patch, delete, deletecollection, connect."""
    operation_id: str
    tag: str
    kind: tuple[str, str, str]
    """Group, version and kind it is about."""
    parameters: tuple[str, ...]
    answer: str
    """Name of the definition that is answered; empty for plain text."""
    body: str = ""
    body_types: tuple[str, ...] = ()
    codes: tuple[int, ...] = (200,)

    @property
    def path_parameters(self) -> tuple[str, ...]:
        return tuple(name for name in ("name", "namespace", "path") if f"{{{name}}}" in self.path)


@dataclass(frozen=True, slots=True)
class Names:
    """Definition names by kind; a kind without one is left out of the documents."""

    by_kind: Mapping[tuple[str, str, str], str]

    def of(self, group: str, version: str, kind: str) -> str:
        return self.by_kind.get((group, version, kind), "")


def operations(resource: Resource, names: Names, *, custom: bool) -> Iterator[Operation]:
    """All operations of a resource and its subresources."""
    definition = names.of(resource.group, resource.version, resource.kind)
    if definition:
        yield from _own_operations(resource, definition, custom=custom)
    for subresource in resource.subresources:
        yield from _subresource_operations(resource, subresource, names, custom=custom)


def _group_words(resource: Resource) -> str:
    group = resource.group.partition(".")[0] or "core"
    return group[:1].upper() + group[1:] + resource.version[:1].upper() + resource.version[1:]


def _tag(resource: Resource) -> str:
    return f"{resource.group.partition('.')[0] or 'core'}_{resource.version}"


def _collection(resource: Resource) -> str:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"{resource.root}{scope}/{resource.plural}"


def _own_operations(resource: Resource, definition: str, *, custom: bool) -> Iterator[Operation]:
    words, scope = _group_words(resource), "Namespaced" if resource.namespaced else ""
    kind = (resource.group, resource.version, resource.kind)
    collection, tag = _collection(resource), _tag(resource)
    item = collection + "/{name}"
    name = f"{words}{scope}{resource.kind}"
    patches = _PATCH_TYPES if custom else (*_PATCH_TYPES, _STRATEGIC)
    listed = f"{definition}List"
    available = {
        "list": Operation(collection, "get", "list", f"list{name}", tag, kind, _LIST, listed),
        "create": Operation(
            collection, "post", "post", f"create{name}", tag, kind, _WRITE, definition, definition, ("*/*",),
            (200, 201, 202),
        ),
        "deletecollection": Operation(
            collection, "delete", "deletecollection", f"delete{words}Collection{scope}{resource.kind}", tag, kind,
            _DELETE_ALL, STATUS, DELETE_OPTIONS, ("*/*",),
        ),
        "get": Operation(item, "get", "get", f"read{name}", tag, kind, _READ, definition),
        "update": Operation(
            item, "put", "put", f"replace{name}", tag, kind, _WRITE, definition, definition, ("*/*",), (200, 201)
        ),
        "patch": Operation(
            item, "patch", "patch", f"patch{name}", tag, kind, _APPLY, definition, PATCH, patches, (200, 201)
        ),
        "delete": Operation(
            item, "delete", "delete", f"delete{name}", tag, kind, _DELETE, STATUS, DELETE_OPTIONS, ("*/*",), (200, 202)
        ),
    }  # fmt: skip
    yield from (operation for verb, operation in available.items() if verb in resource.verbs)
    if resource.namespaced and "list" in resource.verbs:
        everywhere = f"{resource.root}/{resource.plural}"
        identifier = f"list{words}{resource.kind}ForAllNamespaces"
        yield Operation(everywhere, "get", "list", identifier, tag, kind, _LIST, listed)


_CONNECT_METHODS = {"get": "get", "create": "post", "update": "put", "delete": "delete", "patch": "patch"}


def _subresource_operations(
    resource: Resource, subresource: Subresource, names: Names, *, custom: bool
) -> Iterator[Operation]:
    words, scope = _group_words(resource), "Namespaced" if resource.namespaced else ""
    version, _, kind_name = subresource.kind.rpartition("/")
    group, _, version = version.rpartition("/") if version else (resource.group, "", resource.version)
    kind = (group, version, kind_name)
    path = _collection(resource) + "/{name}/" + subresource.name
    shown = "".join(part[:1].upper() + part[1:] for part in subresource.name.split("/"))
    suffix = f"{words}{scope}{resource.kind}{shown}"
    tag, definition = _tag(resource), names.of(*kind)
    if not definition or subresource.name == "log":
        connects = subresource.name != "log"
        for verb in sorted(subresource.verbs):
            method = _CONNECT_METHODS[verb]
            identifier = f"connect{words}{method.title()}{scope}{resource.kind}{shown}" if connects else f"read{suffix}"
            yield Operation(path, method, "connect" if connects else "get", identifier, tag, kind, (), "")
        return
    patches = _PATCH_TYPES if custom else (*_PATCH_TYPES, _STRATEGIC)
    available = {
        "get": Operation(path, "get", "get", f"read{suffix}", tag, kind, _READ, definition),
        "create": Operation(
            path, "post", "post", f"create{suffix}", tag, kind, _WRITE, definition, definition, ("*/*",),
            (200, 201, 202),
        ),
        "update": Operation(
            path, "put", "put", f"replace{suffix}", tag, kind, _WRITE, definition, definition, ("*/*",), (200, 201)
        ),
        "patch": Operation(
            path, "patch", "patch", f"patch{suffix}", tag, kind, _APPLY, definition, PATCH, patches, (200, 201)
        ),
    }  # fmt: skip
    yield from (operation for verb, operation in available.items() if verb in subresource.verbs)


def _gvk(kind: tuple[str, str, str]) -> Object:
    return {"group": kind[0], "kind": kind[2], "version": kind[1]}


_PATH_TEXTS = {"name": "Name of the object.", "namespace": "Namespace of the object.", "path": "Path to pass on."}


def version_3(operation: Operation) -> Object:
    """The operation in an OpenAPI 3 document."""
    parameters: list[Object] = [
        {"name": name, "in": "path", "description": _PATH_TEXTS[name], "required": True,
         "schema": {"type": "string", "uniqueItems": True}}
        for name in operation.path_parameters
    ]  # fmt: skip
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": kind, "uniqueItems": True}}
        for name, (kind, text) in ((name, _PARAMETERS[name]) for name in operation.parameters)
    ]
    schema = {"$ref": f"#/components/schemas/{operation.answer}"} if operation.answer else {"type": "string"}
    content = {_ANSWER if operation.answer else "*/*": {"schema": schema}}
    found: Object = {
        "tags": [operation.tag],
        "operationId": operation.operation_id,
        "parameters": parameters,
        "responses": {
            **{str(code): {"description": "OK", "content": content} for code in operation.codes},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": _gvk(operation.kind),
    }
    if operation.body:
        reference = {"$ref": f"#/components/schemas/{operation.body}"}
        required = operation.method != "delete"
        found["requestBody"] = {
            "content": {kind: {"schema": reference} for kind in operation.body_types},
            **({"required": True} if required else {}),
        }
    return found


def version_2(operation: Operation) -> Object:
    """The operation in the OpenAPI 2 document."""
    parameters: list[Object] = [
        {"name": name, "in": "path", "description": _PATH_TEXTS[name], "required": True, "type": "string",
         "uniqueItems": True}
        for name in operation.path_parameters
    ]  # fmt: skip
    parameters += [
        {"name": name, "in": "query", "description": text, "type": kind, "uniqueItems": True}
        for name, (kind, text) in ((name, _PARAMETERS[name]) for name in operation.parameters)
    ]
    if operation.body:
        required = {"required": True} if operation.method != "delete" else {}
        reference = {"$ref": f"#/definitions/{operation.body}"}
        parameters.append({"name": "body", "in": "body", **required, "schema": reference})
    answer: Any = {"$ref": f"#/definitions/{operation.answer}"} if operation.answer else {"type": "string"}
    return {
        "tags": [operation.tag],
        "operationId": operation.operation_id,
        "consumes": list(operation.body_types) or ["*/*"],
        "produces": [_ANSWER if operation.answer else "*/*"],
        "schemes": ["https"],
        "parameters": parameters,
        "responses": {
            **{str(code): {"description": "OK", "schema": answer} for code in operation.codes},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": _gvk(operation.kind),
    }

"""
What is served here: /api and /apis, in the old form (a document a group version) and the aggregated one.

Built from the resources, CRDs' among them, whenever that list changes; answering is handing out bytes.
Source: apiserver, pkg/endpoints/discovery; clients break on the media type's parameters (see `AGGREGATED`).
"""

import base64
import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from cluster.api import resources as built_in
from cluster.api.resources import Resource, Subresource
from cluster.machinery.objects import Object

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""Content-Type of the aggregated form. Without its parameters a client takes the answer for the old form."""
JSON = "application/json"

_PRIORITIES = Path(built_in.__file__).parent / "tables" / "bootstrap_api_services.json"
_OF_CUSTOM = 1000, 100
"""Group's and version's priority of what CustomResourceDefinitions define; larger ones come first."""
_FIRST = 1 << 20, 1
"""That of the API that tells which APIs there are."""
_CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


@dataclass(frozen=True, slots=True)
class ServedElsewhere:
    """One group version that another server serves behind this one."""

    group: str
    version: str
    group_priority: int
    version_priority: int
    resources: tuple[Object, ...] | None = None
    """Entries of the aggregated form; None when nothing could be learned yet."""
    current: bool = False
    """False when the last attempt to learn them failed."""


@dataclass(frozen=True, slots=True)
class Document:
    """One answer, ready to send."""

    body: bytes
    etag: str
    """With its quotes, as the header has it."""
    content_type: str = JSON

    @staticmethod
    def of(content: Object, content_type: str = JSON) -> "Document":
        body = orjson.dumps(content)
        # Content addressed, so that all apiservers of a cluster agree on it.
        return Document(body, f'"{hashlib.sha512(body).hexdigest().upper()}"', content_type)


def wants_aggregated(accept: str) -> bool:
    """Does the Accept header name the aggregated form before plain JSON?"""
    for offer in accept.split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        if kind not in (JSON, "application/*", "*/*"):
            continue
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        if given.get("as") == "APIGroupDiscoveryList":
            if given.get("g") == "apidiscovery.k8s.io" and given.get("v") == "v2" and kind == JSON:
                return True
        elif "as" not in given:
            return False
    return False


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sort key: v2 before v1 before v1beta2 before v1alpha1; what is no Kubernetes version comes last, by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return 3, 0, 0, version
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return stage, -int(match[1]), -int(match[3] or 0), ""


class Discovery:
    """All discovery documents for one list of resources; made anew when the list changes."""

    def __init__(
        self, resources: Iterable[Resource], server_address: str = "", elsewhere: Iterable[ServedElsewhere] = ()
    ) -> None:
        """
        Args:
            server_address: host:port that /api tells clients.
            elsewhere: these replace what `resources` has of the same group and version.
        """
        self._server_address = server_address
        self._elsewhere = {(one.group, one.version): one for one in elsewhere}
        self._groups: dict[str, dict[str, list[Resource]]] = {}
        for resource in resources:
            if (resource.group, resource.version) not in self._elsewhere:
                self._groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
        for group, version in self._elsewhere:
            self._groups.setdefault(group, {}).setdefault(version, [])

    def _priorities(self, group: str, version: str) -> tuple[int, int]:
        other = self._elsewhere.get((group, version))
        return (other.group_priority, other.version_priority) if other else _priorities_here(group, version)

    def _ordered_groups(self) -> list[str]:
        def rank(group: str) -> tuple[int, str]:
            return -max(self._priorities(group, version)[0] for version in self._groups[group]), group

        return sorted((name for name in self._groups if name), key=rank)

    def _versions(self, group: str) -> list[str]:
        return sorted(
            self._groups[group], key=lambda version: (-self._priorities(group, version)[1], version_priority(version))
        )

    @functools.cached_property
    def root(self) -> Document:
        """GET /: the paths there are."""
        paths = ["/.well-known/openid-configuration", "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2",
                 "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]  # fmt: skip
        for group, versions in self._groups.items():
            paths += [f"/apis/{group}/{version}" if group else f"/api/{version}" for version in versions]
            paths += [f"/apis/{group}"] if group else []
        return Document.of({"paths": sorted(paths)})

    @functools.cached_property
    def core(self) -> Document:
        """GET /api"""
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._server_address}]
        versions = self._versions("") if "" in self._groups else []
        return Document.of({"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": addresses})

    @functools.cached_property
    def groups(self) -> Document:
        """GET /apis"""
        groups = [self._group(name) for name in self._ordered_groups()]
        return Document.of({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    @functools.cached_property
    def core_aggregated(self) -> Document:
        """GET /api, aggregated."""
        return self._aggregated([""] if "" in self._groups else [])

    @functools.cached_property
    def groups_aggregated(self) -> Document:
        """GET /apis, aggregated."""
        return self._aggregated(self._ordered_groups())

    @functools.cache  # noqa: B019  # a Discovery lives as long as its documents are served
    def group(self, name: str) -> Document | None:
        """GET /apis/GROUP; None for one that is not served."""
        if not name or name not in self._groups:
            return None
        return Document.of({"kind": "APIGroup", "apiVersion": "v1", **self._group(name)})

    @functools.cache  # noqa: B019  # as above
    def group_version(self, group: str, version: str) -> Document | None:
        """GET /api/v1 or /apis/GROUP/VERSION; None for one that is not served."""
        found = self._groups.get(group, {}).get(version)
        if found is None:
            return None
        head: Object = {"kind": "APIResourceList"}
        if group:
            head["apiVersion"] = "v1"
        name = f"{group}/{version}" if group else version
        listed = [entry for resource in _by_name(found) for entry in _legacy_entries(resource)]
        return Document.of({**head, "groupVersion": name, "resources": listed})

    def _group(self, name: str) -> Object:
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in self._versions(name)]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _aggregated(self, groups: Sequence[str]) -> Document:
        items = [
            {
                "metadata": {"name": name} if name else {},
                "versions": [self._aggregated_version(name, version) for version in self._versions(name)],
            }
            for name in groups
        ]
        content = {
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
        }  # fmt: skip
        return Document.of(content, AGGREGATED)

    def _aggregated_version(self, group: str, version: str) -> Object:
        other = self._elsewhere.get((group, version))
        if other is None:
            listed = [_aggregated_entry(resource) for resource in _by_name(self._groups[group][version])]
            return {"version": version, "resources": listed, "freshness": "Current"}
        known = {} if other.resources is None else {"resources": list(other.resources)}
        return {"version": version, **known, "freshness": "Current" if other.current else "Stale"}


@functools.cache
def _built_in_priorities() -> dict[tuple[str, str], tuple[int, int]]:
    rows = orjson.loads(_PRIORITIES.read_bytes())
    return {(row["group"], row["version"]): (row["groupPriorityMinimum"], row["versionPriority"]) for row in rows}


def _priorities_here(group: str, version: str) -> tuple[int, int]:
    if group == "apiregistration.k8s.io":
        return _FIRST
    return _built_in_priorities().get((group, version), _OF_CUSTOM)


def _by_name(resources: Iterable[Resource]) -> list[Resource]:
    return sorted(resources, key=lambda resource: resource.plural)


def _is_custom(resource: Resource) -> bool:
    return built_in.by_path(resource.group, resource.version, resource.plural) is None


def _verbs(resource: Resource, verbs: frozenset[str]) -> list[str]:
    """Sorted; for custom resources in the order upstream happens to have."""
    if _is_custom(resource) and len(verbs) > 3:
        return [verb for verb in _CUSTOM_VERBS if verb in verbs]
    return sorted(verbs)


def _subresources(resource: Resource) -> list[Subresource]:
    return sorted(resource.subresources, key=lambda sub: sub.name, reverse=_is_custom(resource))


def _foreign_kind(subresource: Subresource) -> tuple[str, str, str]:
    """Group, version and kind; the first two empty when they are the parent's."""
    version, _, kind = subresource.kind.rpartition("/")
    group, _, version = version.rpartition("/")
    return group, version, kind


def _legacy_entries(resource: Resource) -> list[Object]:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(resource, resource.verbs),
    }
    entry |= _names(resource)
    if "watch" in resource.verbs:
        entry["storageVersionHash"] = _storage_version_hash(resource)
    return [entry, *(_legacy_subresource(resource, sub) for sub in _subresources(resource))]


def _legacy_subresource(resource: Resource, subresource: Subresource) -> Object:
    group, version, kind = _foreign_kind(subresource)
    entry: Object = {
        "name": f"{resource.plural}/{subresource.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    if version:
        entry |= {"group": group, "version": version}
    return {**entry, "kind": kind, "verbs": _verbs(resource, subresource.verbs)}


def _names(resource: Resource) -> Object:
    found: Object = {}
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    return found


def _storage_version_hash(resource: Resource) -> str:
    """Tells clients when the stored version of a resource changes; eight bytes, as upstream."""
    text = f"{resource.group}/{resource.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _aggregated_entry(resource: Resource) -> Object:
    own_kind: dict[str, Any] = {"group": "", "version": "", "kind": resource.kind}
    if _is_custom(resource):
        own_kind |= {"group": resource.group, "version": resource.version}
    entry: Object = {
        "resource": resource.plural,
        "responseKind": own_kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": _verbs(resource, resource.verbs),
        **_names(resource),
    }
    subresources = []
    for subresource in _subresources(resource):
        group, version, kind = _foreign_kind(subresource)
        answers = {**own_kind, "kind": kind} if not version else {"group": group, "version": version, "kind": kind}
        subresources.append(
            {
                "subresource": subresource.name,
                "responseKind": answers,
                "verbs": _verbs(resource, subresource.verbs),
            }
        )
    if subresources:
        entry["subresources"] = subresources
    return entry


@functools.lru_cache(maxsize=4)
def documents(resources: tuple[Resource, ...], server_address: str = "") -> Discovery:
    """The documents for this list of resources; the same ones as long as the list is the same."""
    return Discovery(resources, server_address)


def serve(
    path: str, accept: str, resources: tuple[Resource, ...], server_address: str = "", merged: Discovery | None = None
) -> Document | None:
    """
    The answer to a GET of `/`, `/api…` or `/apis…`; None when nothing is there.

    Args:
        merged: documents that describe what other servers serve too.
    """
    found = merged or documents(resources, server_address)
    parts = path.strip("/").split("/")
    match parts:
        case [""]:
            return found.root
        case ["api"]:
            return found.core_aggregated if wants_aggregated(accept) else found.core
        case ["apis"]:
            return found.groups_aggregated if wants_aggregated(accept) else found.groups
        case ["api", version]:
            return found.group_version("", version)
        case ["apis", group]:
            return found.group(group)
        case ["apis", group, version] if group:
            return found.group_version(group, version)
        case _:
            return None

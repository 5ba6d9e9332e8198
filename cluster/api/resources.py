"""
The REST map: every built-in resource, what it is called and what may be done with it.

Data, from `cluster/api/tables/resources.json`; nothing here does I/O after import.
Used by the apiserver (routes, discovery), the client (paths) and everybody who names a resource.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.machinery.shapes import Shape


@dataclass(frozen=True, slots=True)
class Subresource:
    """What can be asked below one object: `status`, `scale`, `log` …"""

    name: str
    verbs: frozenset[str]
    kind: str
    """Its kind; with `group/version/` in front where that differs from the parent's."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of one group and version, e.g. ("apps", "v1", "deployments", "Deployment")."""

    group: str
    """API group; empty for core."""
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: frozenset[str] = frozenset()
    subresources: tuple[Subresource, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`deployments.apps` or `pods`; unique over all groups, the version aside."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def root(self) -> str:
        """`/api/v1` or `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def shape(self) -> Shape:
        """Fields of its objects and how they merge."""
        found: Shape = _schemas().shape(self.api_version, self.kind)
        return found

    def subresource(self, name: str) -> Subresource | None:
        return next((s for s in self.subresources if s.name == name), None)

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection, of an object or of its subresource. Names are not escaped: they are checked."""
        parts = [self.root]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


@functools.cache
def _schemas() -> Any:
    from cluster.api import schema  # 15 ms that only who asks shall pay: most services never do

    return schema.schemas()


def _load() -> tuple[Resource, ...]:
    rows = json.loads((Path(__file__).parent / "tables" / "resources.json").read_text())
    return tuple(
        Resource(
            group=row["group"],
            version=row["version"],
            plural=row["resource"],
            kind=row["kind"],
            namespaced=row["namespaced"],
            singular=row["singular"],
            short_names=tuple(row["short"]),
            categories=tuple(row["categories"]),
            verbs=frozenset(row["verbs"]),
            subresources=tuple(
                Subresource(name, frozenset(sub["verbs"]), sub["kind"]) for name, sub in row["subresources"].items()
            ),
        )
        for row in rows
    )


ALL: tuple[Resource, ...] = _load()


@functools.cache
def by_path(group: str, version: str, plural: str) -> Resource | None:
    return next((r for r in ALL if (r.group, r.version, r.plural) == (group, version, plural)), None)


@functools.cache
def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource whose objects have this apiVersion and kind; None for an unknown one."""
    return next((r for r in ALL if r.api_version == api_version and r.kind == kind), None)


@functools.cache
def named(qualified: str) -> Resource:
    """`named("deployments.apps")`. Raises KeyError for a name that no group serves."""
    found = next((r for r in ALL if r.qualified == qualified), None)
    if found is None:
        raise KeyError(f"no built-in resource is called {qualified!r}")
    return found


PODS = named("pods")
NODES = named("nodes")
NAMESPACES = named("namespaces")
SERVICES = named("services")
ENDPOINTS = named("endpoints")
ENDPOINT_SLICES = named("endpointslices.discovery.k8s.io")
CONFIG_MAPS = named("configmaps")
SECRETS = named("secrets")
EVENTS = named("events")
SERVICE_ACCOUNTS = named("serviceaccounts")
DEPLOYMENTS = named("deployments.apps")
REPLICA_SETS = named("replicasets.apps")
DAEMON_SETS = named("daemonsets.apps")
LEASES = named("leases.coordination.k8s.io")

"""
Where a Service can be reached by the apiserver itself: its cluster IP, or one of its ready endpoints.

Used by whoever dials a Service that an object names: webhooks, aggregated APIs. Reads the watch cache; no I/O.
Source of the two ways and of their words: k8s.io/apiserver, pkg/util/proxy/proxy.go.
"""

import random
from dataclasses import dataclass

from cluster.api import resources
from cluster.apiserver.requests import ObjectReader
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ServiceUnavailable, not_found

_WITH_ENDPOINTS = frozenset({"", "ClusterIP", "NodePort", "LoadBalancer"})


class CannotRouteError(Exception):
    """The Service is there, and yet nothing can be reached through it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to dial. The host is an address, or a DNS name for a Service of type ExternalName."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServiceResolver:
    """
    Where to dial a Service's port, as the cache knows it at the moment.

    `to_endpoints` (--enable-aggregator-routing) goes to a ready endpoint at once, for hosts without a service proxy.
    A headless Service has no other address, so it is resolved that way in any case.
    """

    def __init__(self, reader: ObjectReader, *, to_endpoints: bool = False) -> None:
        self._reader = reader
        self._to_endpoints = to_endpoints

    def resolve(self, namespace: str, name: str, port: int) -> Target:
        """Raises NotFound, ServiceUnavailable, CannotRouteError."""
        service = self._reader.get(resources.SERVICES, namespace, name)
        if service is None:
            raise not_found("", "service", name)
        spec = service.get("spec") or {}
        kind = spec.get("type") or ""
        if kind == "ExternalName" and not self._to_endpoints:
            return Target(str(spec.get("externalName") or ""), port)
        if kind not in _WITH_ENDPOINTS:
            raise CannotRouteError(f'unsupported service type "{kind}"')
        wanted = _port(spec, name, port)
        address = spec.get("clusterIP") or "None"
        if self._to_endpoints or address == "None":
            return random.choice(self._endpoints(namespace, name, wanted))  # noqa: S311
        return Target(address, int(wanted["port"]))

    def _endpoints(self, namespace: str, name: str, port: Object) -> list[Target]:
        found = [
            Target(str(endpoint["addresses"][0]), int(listed["port"]))
            for part in self._reader.list(resources.ENDPOINT_SLICES, namespace)
            if (part["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == name
            for listed in part.get("ports") or ()
            if (listed.get("name") or "") == (port.get("name") or "") and listed.get("port")
            for endpoint in part.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses")
        ]
        if not found:
            raise ServiceUnavailable(f'no endpoints available for service "{name}"')
        return found


def _port(spec: Object, name: str, port: int) -> Object:
    for listed in spec.get("ports") or ():
        if listed.get("port") == port:
            return dict(listed)
    raise ServiceUnavailable(f'no service port {port} found for service "{name}"')

"""
The Service default/kubernetes and its endpoints: every apiserver that is alive, and none that is not.

Each server says every few seconds under a key with a lease that it lives; whoever looks writes the endpoints from
the keys that are there. A server that ends takes its key away; one that dies is forgotten with its lease.
Source: k8s.io/kubernetes, pkg/controlplane/reconcilers/lease.go.
"""

import asyncio
import ipaddress
import logging

from cluster.api import resources
from cluster.apiserver.registry.registry import Registry
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import AlreadyExists, ApiError, Conflict
from cluster.store.backend import StoreError
from cluster.store.object_store import ObjectStore

log = logging.getLogger(__name__)

PLACE = "masterleases"
INTERVAL, TTL = 8.0, 12
"""Seconds; whoever dies is gone from the endpoints after at most TTL and the second that etcd takes to notice."""
RETRY = 1.0


class Masters:
    def __init__(self, registry: Registry, store: ObjectStore, address: str, port: int, service_address: str) -> None:
        self._registry = registry
        self._store = store
        self._address = address
        self._port = port
        self._service_address = service_address
        self.someone_left = asyncio.Event()
        """Set when a server's key is gone."""

    async def run(self) -> None:
        """For ever."""
        while True:
            pause = 0.0
            try:
                await self.reconcile()
                async with asyncio.timeout(INTERVAL):
                    while True:
                        await self.someone_left.wait()
                        self.someone_left.clear()
                        await self._publish()
            except TimeoutError:
                pass  # time to say again that this server lives
            except (ApiError, StoreError) as fault:
                log.warning("the endpoints of default/kubernetes are not up to date: %s", fault)
                pause = RETRY
            await asyncio.sleep(pause)

    async def reconcile(self) -> None:
        await self._store.keep(PLACE, self._address, TTL)
        await self._ensure(resources.SERVICES, self._service(), ("ports",))
        await self._publish()

    async def leave(self) -> None:
        """This server answers no longer."""
        await self._store.release(PLACE, self._address)
        await self._publish()

    async def _publish(self) -> None:
        alive = sorted(await self._store.names(PLACE), key=ipaddress.ip_address)
        if alive:
            await self._ensure(resources.ENDPOINTS, self._endpoints(alive), ())
            await self._ensure(resources.ENDPOINT_SLICES, self._slice(alive), ())

    async def _ensure(self, resource: resources.Resource, wanted: Object, spec_fields: tuple[str, ...]) -> None:
        """Create it, or correct what differs; what others added to a Service's spec stays."""
        present = self._registry.get(resource, "default", "kubernetes")
        if present is None:
            try:
                await self._registry.create(resource, wanted)
            except AlreadyExists:
                return
            return
        corrected = copy_object(present)
        for name, value in wanted.items():
            if name == "spec":
                corrected["spec"].update({field: value[field] for field in spec_fields})
            elif name != "metadata":
                corrected[name] = value
        if corrected != present:
            try:
                await self._registry.update(resource, corrected)
            except Conflict:
                log.debug("another server corrected %s default/kubernetes first", resource.plural)

    def _service(self) -> Object:
        return {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": self._service_address,
                "sessionAffinity": "None",
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": self._port}],
            },
        }

    def _endpoints(self, alive: list[str]) -> Object:
        return {
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [
                {
                    "addresses": [{"ip": address} for address in alive],
                    "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
                }
            ],
        }

    def _slice(self, alive: list[str]) -> Object:
        return {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": "IPv6" if ":" in alive[0] else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in alive],
            "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
        }

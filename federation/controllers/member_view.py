"""
What one member says of the Services that the federation keeps in it: informers there, and facts made of what they know.

Two watches a member, of managed objects alone; a third of its Nodes once a Service is reached by their addresses.
Called by   federation.controllers.member_services.    Not here    which addresses (federation.dns.addresses).
"""

import asyncio
import logging
from collections.abc import Callable

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError, NotFound
from federation.dns.addresses import AUTO, NODES, ServiceFacts, facts_of, wants_nodes

log = logging.getLogger(__name__)

MANAGED = "federation.hanse.io/managed=true"
RETRY = 2.0  # seconds between tries to learn how the member tells of endpoints
_SERVICE_NAME = "kubernetes.io/service-name"


class MemberView:
    """
    `run` in a task.

    Args:
        changed: hears of every Service whose facts may be others now.
        complete: called once, when everything is known.
        nodes: whether Nodes are needed from the start on.
    """

    def __init__(
        self,
        name: str,
        client: ApiClient,
        changed: Callable[[Key], None],
        complete: Callable[[], None],
        *,
        nodes: bool = False,
    ) -> None:
        self.name = name
        self.synced = False
        self._client = client
        self._changed = changed
        self._complete = complete
        self._services = Informer(client, resources.SERVICES, label_selector=MANAGED)
        self._nodes = Informer(client, resources.NODES)
        self._nodes_wanted = asyncio.Event()
        if nodes:
            self._nodes_wanted.set()
        self._endpoints: Informer | None = None

    @property
    def nodes_wanted(self) -> bool:
        return self._nodes_wanted.is_set()

    def keys(self) -> list[Key]:
        return [key_of(service) for service in self._services.list()]

    def facts(self, key: Key, source: str = AUTO) -> ServiceFacts | None:
        """None: not known yet."""
        if not self.synced or self._endpoints is None:
            return None
        service = self._services.get(key)
        if service is None:
            return ServiceFacts((), (), 0)
        if wants_nodes(service, source):
            self._nodes_wanted.set()
            if not self._nodes.has_synced:
                return None
        return facts_of(service, self._endpoints.by_index("service", str(key)), self._nodes.list(), source)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._services.run(), name=f"Services of {self.name}")
            self._endpoints = endpoints = Informer(self._client, await self._resource(), label_selector=MANAGED)
            endpoints.add_index("service", lambda obj: (str(_service_of(obj)),))
            tasks.create_task(endpoints.run(), name=f"endpoints of {self.name}")
            await self._services.wait_synced()
            await endpoints.wait_synced()
            if any(wants_nodes(service) for service in self._services.list()):
                self._nodes_wanted.set()
            if self.nodes_wanted:
                await self._start_nodes(tasks)
            self._listen(endpoints)
            self.synced = True
            self._complete()
            if not self.nodes_wanted:
                await self._nodes_wanted.wait()
                await self._start_nodes(tasks)
                self._by_nodes()
            self._nodes.add_handler(None, self._node_changed, lambda _: self._by_nodes())

    async def _start_nodes(self, tasks: asyncio.TaskGroup) -> None:
        tasks.create_task(self._nodes.run(), name=f"Nodes of {self.name}")
        await self._nodes.wait_synced()

    async def _resource(self) -> Resource:
        """EndpointSlices, or Endpoints where the member has none."""
        while True:
            try:
                await self._client.request("GET", resources.ENDPOINT_SLICES.root)
            except NotFound:
                log.info("cluster %s has no EndpointSlices: its Endpoints are watched", self.name)
                return resources.ENDPOINTS
            except ApiError as fault:
                log.info("cluster %s does not say yet how it tells of endpoints: %s", self.name, fault)
                await asyncio.sleep(RETRY)
            else:
                return resources.ENDPOINT_SLICES

    def _listen(self, endpoints: Informer) -> None:
        def service(obj: Object) -> None:
            self._changed(key_of(obj))

        def slices(obj: Object) -> None:
            self._changed(_service_of(obj))

        self._services.add_handler(service, lambda _, new: service(new), service)
        endpoints.add_handler(slices, lambda _, new: slices(new), slices)

    def _node_changed(self, old: Object, new: Object) -> None:
        if _reach(old) != _reach(new):  # and not by every heartbeat
            self._by_nodes()

    def _by_nodes(self) -> None:
        for service in self._services.list():
            if wants_nodes(service, NODES):
                self._changed(key_of(service))


def _service_of(obj: Object) -> Key:
    """Of an EndpointSlice the label says it; Endpoints are called as their Service is."""
    key = key_of(obj)
    return Key(key.namespace, (obj["metadata"].get("labels") or {}).get(_SERVICE_NAME) or key.name)


def _reach(node: Object) -> object:
    """What facts depend on."""
    status, metadata = node.get("status") or {}, node["metadata"]
    ready = [one.get("status") for one in status.get("conditions") or () if one.get("type") == "Ready"]
    return (
        ready, status.get("addresses"), metadata.get("labels"), metadata.get("deletionTimestamp"),
        (node.get("spec") or {}).get("providerID"),
    )  # fmt: skip

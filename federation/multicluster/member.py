"""
One member: what it exports, and what was imported into it. Watches its ServiceExports and what importing made; of all
its Services and endpoints only once it exports something.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from cluster.api import resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError, NotFound
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.dns.addresses import wants_nodes
from federation.multicluster.kinds import EXPORTS, IMPORTED, IMPORTS, SERVICE_NAME, definitions
from federation.multicluster.merge import Export

log = logging.getLogger(__name__)

DEFINITIONS = resources.named("customresourcedefinitions.apiextensions.k8s.io")
TRY_AGAIN = 5.0  # seconds


class MulticlusterMember:
    """
    `run` in a task.

    Args:
        network: which of its own the cluster is in; empty: not known.
        changed: hears of every Service whose import may be another now.
    """

    def __init__(self, name: str, network: str, client: ApiClient, changed: Callable[[Key], None]) -> None:
        self.name = name
        self.network = network
        self.client = client
        self.synced = asyncio.Event()
        self.owner: list[Object] = []
        """Of imports: the federation's Namespace there. Whoever leaves loses it, and by it what was imported."""
        self._changed = changed
        self._exports = Informer(client, EXPORTS)
        self.imports = Informer(client, IMPORTS, label_selector=IMPORTED)
        self.derived = Informer(client, resources.SERVICES, label_selector=IMPORTED)
        self.slices = Informer(client, resources.ENDPOINT_SLICES, label_selector=IMPORTED)
        self._services = Informer(client, resources.SERVICES)
        self._endpoints = Informer(client, resources.ENDPOINT_SLICES)
        self._nodes = Informer(client, resources.NODES)
        self._is_exporting = asyncio.Event()
        self._wants_nodes = asyncio.Event()
        self.slices.add_index("import", lambda obj: [str(_imported_as(obj))])
        self._endpoints.add_index("service", lambda obj: [str(_labelled(obj, SERVICE_NAME))])

    async def run(self) -> None:
        """Until cancelled."""
        await self._define()
        self._listen()
        async with asyncio.TaskGroup() as tasks:
            first = (self._exports, self.imports, self.derived, self.slices)
            for informer in first:
                tasks.create_task(informer.run(), name=f"{informer.resource.plural} of {self.name}")
            for informer in first:
                await informer.wait_synced()
            if len(self._exports):
                await self._look_at_services(tasks)
            self._be_ready()
            await self._is_exporting.wait()
            if not self._services.has_synced:
                await self._look_at_services(tasks)
                self._be_ready()
            await self._wants_nodes.wait()
            tasks.create_task(self._nodes.run(), name=f"nodes of {self.name}")
            await self._nodes.wait_synced()
            self._be_ready()

    def _be_ready(self) -> None:
        self.synced.set()
        for key in self.services():
            self._changed(key)

    async def _define(self) -> None:
        """The kinds are there afterwards. What somebody else defined stays as it is."""
        while True:
            try:
                for definition in definitions():
                    with contextlib.suppress(AlreadyExists):
                        await self.client.create(DEFINITIONS, definition)
                self.owner = await self._owner()
                await self.client.list(EXPORTS, limit=1)
                await self.client.list(IMPORTS, limit=1)
            except ApiError as fault:
                log.info("cluster %s cannot export and import Services yet: %s", self.name, fault)
                await asyncio.sleep(TRY_AGAIN if fault.http_code != 404 else 0.2)
            else:
                return

    async def _owner(self) -> list[Object]:
        try:
            namespace = await self.client.get(resources.NAMESPACES, SYSTEM_NAMESPACE)
        except NotFound:
            return []
        uid = namespace["metadata"]["uid"]
        return [{"apiVersion": "v1", "kind": "Namespace", "name": SYSTEM_NAMESPACE, "uid": uid}]

    async def _look_at_services(self, tasks: asyncio.TaskGroup) -> None:
        for informer in (self._services, self._endpoints):
            tasks.create_task(informer.run(), name=f"all {informer.resource.plural} of {self.name}")
        for informer in (self._services, self._endpoints):
            await informer.wait_synced()

    def _listen(self) -> None:
        def exported(obj: Object) -> None:
            self._is_exporting.set()
            self._changed(key_of(obj))

        def served(key: Key) -> None:
            if self._exports.get(key) is not None:
                self._changed(key)

        def watch(informer: Informer, call: Callable[[Object], None]) -> None:
            informer.add_handler(call, lambda _, new: call(new), call)

        watch(self._exports, exported)
        watch(self._services, lambda obj: served(key_of(obj)))
        watch(self._endpoints, lambda obj: served(_labelled(obj, SERVICE_NAME)))
        for made in (self.imports, self.derived, self.slices):
            watch(made, lambda obj: self._changed(_imported_as(obj)))

    def services(self) -> Iterable[Key]:
        """Services that are exported here, or imported."""
        return {*map(key_of, self._exports.list()), *map(_imported_as, self.imports.list())}

    def export(self, key: Key) -> Export | None:
        """What this cluster says of a Service; None: it does not export it."""
        found = self._exports.get(key)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        service = self._services.get(key)
        if service is not None and wants_nodes(service):
            self._wants_nodes.set()
        slices = self._endpoints.by_index("service", str(key)) if service is not None else []
        return Export(self.name, self.network, found, service, slices, self._nodes.list())

    @property
    def is_complete(self) -> bool:
        """Whether what `export` says can be relied on."""
        return self.synced.is_set() and (not len(self._exports) or self._services.has_synced)


def _labelled(obj: Object, label: str) -> Key:
    metadata = obj["metadata"]
    return Key(metadata.get("namespace") or "", (metadata.get("labels") or {}).get(label) or "")


def _imported_as(obj: Object) -> Key:
    return _labelled(obj, IMPORTED)

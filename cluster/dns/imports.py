"""
Follows ServiceImports, in clusters that have the kind, and puts their names into the zone clusterset.local.

Where the kind is not defined, this costs one watch for its definition and the zone is not ours.
"""

import asyncio
import contextlib
import logging

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.dns.clusterset import CLUSTERSET_DOMAIN, SERVICE_LABEL, import_records
from cluster.dns.zone import Zone
from cluster.machinery.objects import Key, Object, key_of

log = logging.getLogger(__name__)

SERVICE_IMPORTS = Resource("multicluster.x-k8s.io", "v1alpha1", "serviceimports", "ServiceImport", True)
DEFINITION = f"{SERVICE_IMPORTS.plural}.{SERVICE_IMPORTS.group}"
_INDEX = "by-import"


class Imports:
    def __init__(self, client: ApiClient, zone: Zone, slices: Informer) -> None:
        self._client = client
        self._zone = zone
        self._slices = slices
        self._imports: Informer | None = None
        self._is_defined = asyncio.Event()
        self._is_gone = asyncio.Event()
        self._definitions = Informer(
            client,
            resources.named("customresourcedefinitions.apiextensions.k8s.io"),
            field_selector=f"metadata.name={DEFINITION}",
        )
        self._definitions.add_handler(self._defined, lambda _, new: self._defined(new), lambda _: self._is_gone.set())
        slices.add_index(_INDEX, lambda obj: [str(import_of(obj))])
        slices.add_handler(self._slice_changed, self._slice_updated, self._slice_changed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._definitions.run())
            while True:
                await self._is_defined.wait()
                self._is_defined.clear()
                self._is_gone.clear()
                await self._follow()

    def _defined(self, definition: Object) -> None:
        conditions = (definition.get("status") or {}).get("conditions") or ()
        if any(each.get("type") == "Established" and each.get("status") == "True" for each in conditions):
            self._is_defined.set()

    async def _follow(self) -> None:
        """For as long as the kind is defined."""
        imports = self._imports = Informer(self._client, SERVICE_IMPORTS)
        imports.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)
        running = asyncio.create_task(imports.run())
        try:
            await imports.wait_synced()
            self._zone.serve_clusterset(True)
            log.info("answering for %s: %s ServiceImports", CLUSTERSET_DOMAIN, len(imports))
            await self._is_gone.wait()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            for each in imports.list():
                self._zone.put(_owner(key_of(each)), None)
            self._imports = None
            self._zone.serve_clusterset(False)

    def _changed(self, service_import: Object) -> None:
        self._refresh(key_of(service_import))

    def _slice_changed(self, each: Object) -> None:
        key = import_of(each)
        if key.name:
            self._refresh(key)

    def _slice_updated(self, old: Object, new: Object) -> None:
        if import_of(old) != import_of(new):
            self._slice_changed(old)
        self._slice_changed(new)

    def _refresh(self, key: Key) -> None:
        found = self._imports.get(key) if self._imports is not None else None
        slices = self._slices.by_index(_INDEX, str(key)) if found else []
        self._zone.put(_owner(key), import_records(found, slices) if found else None)


def import_of(each: Object) -> Key:
    """The ServiceImport that an EndpointSlice belongs to; an empty name for one of this cluster's own."""
    metadata = each.get("metadata") or {}
    return Key(metadata.get("namespace") or "", (metadata.get("labels") or {}).get(SERVICE_LABEL) or "")


def _owner(key: Key) -> Key:
    """Beside Services of the same name."""
    return Key(f"import:{key.namespace}", key.name)

"""
Who serves what: the table of group versions that other servers serve, followed in the APIService objects.

`remote` is empty in a cluster without such servers, and then a request costs no more than looking at that.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from cluster.apiserver.aggregation.api_services import (
    API_SERVICES,
    OWN_GROUP,
    GroupVersion,
    backend_of,
    group_version,
    is_available,
)
from cluster.apiserver.options import Options
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.router import Route
from cluster.apiserver.service_resolver import ServiceResolver
from cluster.machinery.objects import Object
from cluster.store.resource_cache import Change

if TYPE_CHECKING:
    from cluster.apiserver.aggregation.attendant import Attendant

log = logging.getLogger(__name__)


class Aggregator:
    """`run` in a task. Everything but that is called from the cache's updates and from requests, and never waits."""

    def __init__(self, registry: Registry, options: Options, resolver: ServiceResolver) -> None:
        self._registry = registry
        self._options = options
        self._resolver = resolver
        self.remote: dict[GroupVersion, Attendant] = {}
        self._changed = asyncio.Event()
        self.gauges: dict[str, float] = {}
        """For /metrics."""
        registry.kind(API_SERVICES).cache.subscribe(self._on_change, self._on_reset)

    def find(self, found: Route) -> "Attendant | None":
        """Who serves this request, when it is not we."""
        if found.resource:
            return self.remote.get((found.group, found.version))
        match found.path.strip("/").split("/"):
            case ["apis", group, version]:
                return self.remote.get((group, version))
            case ["api", version]:
                return self.remote.get(("", version))
            case ["openapi", "v3", "apis", group, version]:
                return self.remote.get((group, version))
            case _:
                return None

    def forget_certificate(self) -> None:
        for attendant in self.remote.values():
            attendant.remote.forget_certificate()

    # Following the APIServices.

    def _on_change(self, change: Change) -> None:
        self._follow()

    def _on_reset(self) -> None:
        # The cache is in the middle of loading.
        asyncio.get_running_loop().call_soon(self._follow)

    def _follow(self) -> None:
        wanted: dict[GroupVersion, Object] = {}
        for api_service in self._registry.list(API_SERVICES):
            key = group_version(api_service)
            if (api_service.get("spec") or {}).get("service") and key[0] != OWN_GROUP:
                wanted[key] = api_service
        if not wanted and not self.remote:
            return
        from cluster.apiserver.aggregation.attendant import Attendant  # most clusters have no such servers

        table: dict[GroupVersion, Attendant] = {}
        for key, api_service in wanted.items():
            try:
                backend = backend_of(api_service)
            except (AttributeError, TypeError, ValueError):
                # Written past our validation, straight into the store: the others are followed all the same.
                log.exception("APIService %s cannot be followed", api_service["metadata"]["name"])
                continue
            known = self.remote.get(key)
            if backend is not None and (known is None or known.remote.backend != backend):
                known = Attendant(api_service, backend, self._options, self._resolver, self._registry, self.gauges)
            if known is not None:
                known.look_at(api_service)
                known.remote.available = is_available(api_service)
                table[key] = known
        self.remote = table
        self._changed.set()

    async def run(self) -> None:
        """For ever: one task looks after each server that others brought in."""
        attended: dict[Attendant, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._changed.wait()
                    self._changed.clear()
                    present = set(self.remote.values())
                    for attendant in [one for one in attended if one not in present]:
                        attended.pop(attendant).cancel()
                        await attendant.close()
                    for attendant in present - attended.keys():
                        attended[attendant] = tasks.create_task(attendant.run(), name=f"api-service-{attendant.name}")
        finally:
            for attendant in attended:
                await attendant.close()

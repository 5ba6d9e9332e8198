"""
What an apiserver does besides answering: it keeps its memory fed, its own objects right and its files fresh.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from cluster.apiserver import memory, start_up
from cluster.apiserver.aggregation.registration import Registration
from cluster.apiserver.flow_control.conditions import FlowSchemaConditions
from cluster.apiserver.masters import PLACE, Masters
from cluster.apiserver.policy_types import PolicyTypes
from cluster.apiserver.registry import service_repair
from cluster.machinery.status_errors import ApiError
from cluster.store import compaction
from cluster.store.backend import StoreError

if TYPE_CHECKING:
    from cluster.apiserver.app import Apiserver

log = logging.getLogger(__name__)

LEAVE_SECONDS = 1.0
PUBLISH_AGAIN_SECONDS = 5.0

Job = Coroutine[None, None, None]


class Upkeep:
    """`jobs` run for as long as the server does; `leave` once when it stops."""

    def __init__(self, server: "Apiserver") -> None:
        self._server = server
        self.etcd_files_changed = asyncio.Event()
        self.authorities_changed = asyncio.Event()

    def jobs(self) -> dict[str, Job]:
        """By name, in the order in which they begin."""
        server = self._server
        jobs: dict[str, Job] = {
            "watch-cache": server.cache.run(),
            "boot": self._boot(),
            "masters": self._reconcile_masters(),
            "service-repair": self._repair_services(),
            "flow-schemas": self._after_boot(FlowSchemaConditions(server.registry, server.writer)),
            "policy-types": self._after_boot(PolicyTypes(server.registry, server.writer)),
            "custom-resources": server.custom.run(),
            "api-service-registration": self._after_boot(server.registration),
            "aggregator": server.aggregator.run(),
            "compaction": compaction.run(server.etcd, server.options.etcd_compaction_interval),
            "file-changes": server.files.run(),
            "memory": memory.run(server.lister.bodies.sweep),
            "etcd-certificate": self._renew_etcd_channels(),
            "authorities": self._publish_authorities(),
        }
        if server.in_flight.flow_control is not None:
            jobs["flow-control"] = server.in_flight.flow_control.run()
        if server.audit is not None:
            jobs["audit"] = server.audit.run()
        return jobs

    async def leave(self) -> None:
        """Nothing of ours shall point at a server that is gone; if the store is gone too, the lease sees to it."""
        masters = self._masters()
        if masters is None:
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await masters.leave()
        except (ApiError, StoreError, TimeoutError) as fault:
            log.warning("our endpoint stays until its lease ends: %s", fault)

    async def _boot(self) -> None:
        await self._server.cache.wait_ready()
        await start_up.run(self._server)

    async def _after_boot(self, worker: FlowSchemaConditions | PolicyTypes | Registration) -> None:
        await self._server.booted.wait()
        await worker.run()

    def _masters(self) -> Masters | None:
        server = self._server
        if server.options.endpoint_reconciler_type == "none" or server.profile.only_stores:
            return None
        address = start_up.advertise_address(server.options)
        service = start_up.service_address(server.options)
        return Masters(server.registry, server.store, address, server.port, service)

    async def _reconcile_masters(self) -> None:
        await self._server.booted.wait()
        masters = self._masters()
        if masters is not None:
            self._server.cache.on_gone(PLACE, masters.someone_left.set)
            await masters.run()

    async def _repair_services(self) -> None:
        server = self._server
        await server.booted.wait()
        if server.allocator is not None:
            await service_repair.run(server.registry, server.store, server.cache, server.allocator)

    async def _renew_etcd_channels(self) -> None:
        while True:
            await self.etcd_files_changed.wait()
            self.etcd_files_changed.clear()
            await self._server.etcd.use_new_certificate()

    async def _publish_authorities(self) -> None:
        await self._server.booted.wait()
        while True:
            await self.authorities_changed.wait()
            self.authorities_changed.clear()
            try:
                await start_up.publish_changed_authorities(self._server)
            except (ApiError, StoreError, OSError) as fault:
                log.warning("changed CAs are not published for extension apiservers yet: %s", fault)
                await asyncio.sleep(PUBLISH_AGAIN_SECONDS)
                self.authorities_changed.set()

"""
Writes what this member has into Placements' status: its own entry, by server-side apply, so that no writes collide.

What is written already is not written again; changes of one object that come together are one write. The conditions
over all members are the apiserver's to work out (federation.apiserver.member_restriction).
"""

import asyncio
import logging

from cluster.client.controller import run_workers
from cluster.client.rest import ApiClient
from cluster.client.workqueue import WorkQueue
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.api.kinds import VERSION
from federation.api.resources import CLUSTER_PLACEMENTS, CLUSTERS, PLACEMENTS
from federation.controllers.links.brakes import CONFIRM
from federation.controllers.links.parts import APPLIED, GONE
from federation.controllers.links.reports import Found
from federation.controllers.links.sources import Sources

log = logging.getLogger(__name__)

GATHER, QUIET = 0.02, 0.5
"""Seconds that a report waits for others of the same object: when somebody waits for it, and when nobody does."""
WORKERS = 4


class AgentReporter:
    """`run` in a task. Satisfies `federation.controllers.links.reports.Reporter`."""

    def __init__(self, client: ApiClient, cluster: str, sources: Sources) -> None:
        self._client, self._cluster, self._sources = client, cluster, sources
        self._found: dict[Key, Found | None] = {}
        self._confirmed = asyncio.Event()
        """What deletions were confirmed for is done."""
        self._queue: WorkQueue[Key] = WorkQueue(base_backoff=0.2, max_backoff=15.0)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_workers("reports", self._queue, self._write, workers=WORKERS), name="reports")
            tasks.create_task(self._take_confirmation(), name="confirmation of deletions")

    def report(self, home: Key, cluster: str, found: Found | None) -> None:
        if cluster != self._cluster:
            return
        self._found[home] = found
        awaited = found is not None and found.state in (APPLIED, GONE)
        self._queue.add_after(home, GATHER if awaited else QUIET)

    def confirmation_used(self, cluster: str) -> None:
        if cluster == self._cluster:
            self._confirmed.set()

    async def _take_confirmation(self) -> None:
        while True:
            await self._confirmed.wait()
            self._confirmed.clear()
            patch = {"metadata": {"annotations": {CONFIRM: None}}}
            try:
                await self._client.patch(CLUSTERS, self._cluster, patch)
            except ApiError as error:
                log.warning("the Cluster keeps its annotation %s, remove it: %s", CONFIRM, error)

    async def _write(self, home: Key) -> None:
        placement = self._sources.placement(home)
        if home not in self._found or placement is None:
            self._found.pop(home, None)
            return
        found = self._found.pop(home)
        wanted = [found.entry(self._cluster)] if found is not None else []
        status = placement.get("status") or {}
        if wanted == [one for one in status.get("clusters") or () if one["name"] == self._cluster]:
            return
        try:
            await self._apply(home, placement, wanted)
        except NotFound:
            log.debug("Placement %s is gone", home)
        except ApiError:
            self._found.setdefault(home, found)  # what came meanwhile is newer
            raise

    async def _apply(self, home: Key, placement: Object, entries: list[Object]) -> None:
        metadata: Object = {"name": home.name, "uid": placement["metadata"]["uid"]}
        if home.namespace:
            metadata["namespace"] = home.namespace
        resource = PLACEMENTS if home.namespace else CLUSTER_PLACEMENTS
        body = {"apiVersion": VERSION, "kind": resource.kind, "metadata": metadata, "status": {"clusters": entries}}
        await self._client.patch(
            resource,
            home.name,
            body,
            namespace=home.namespace,
            patch_type="apply",
            subresource="status",
            field_manager=f"federation-agent-{self._cluster}"[:128],
            force=True,
        )

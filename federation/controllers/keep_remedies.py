"""
Keeps in every Cluster's status which ClusterRemedies are in force for it; placement and names go by that.

Nothing begins and nothing ends while the federation takes itself to be cut off: what it sees of its members then is its
own trouble. Not here    what conditions ask for (federation.membership.remedies).
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable

from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, Conflict, NotFound
from federation.api.resources import CLUSTER_REMEDIES, CLUSTERS
from federation.membership.remedies import in_force
from federation.placement.affinity import affinity_of
from federation.placement.members import member_of

log = logging.getLogger(__name__)

RETRY = 2.0
"""Seconds after a write that failed, and between looks while the federation is cut off."""


class KeepRemedies:
    """`run` in a task. `clusters` is run by whoever made it."""

    def __init__(
        self,
        client: ApiClient,
        clusters: Informer,
        *,
        isolated: Callable[[], bool] = lambda: False,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._client, self._clusters = client, clusters
        self._isolated, self._now = isolated, now
        self._remedies = Informer(client, CLUSTER_REMEDIES)
        self._changed = asyncio.Event()
        self._remedies.add_handler(self._wake, lambda _old, _new: self._wake(), self._wake)
        clusters.add_handler(self._wake, lambda _old, _new: self._wake())

    def _wake(self, _obj: Object | None = None) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._remedies.run(), name="remedies")
            await self._remedies.wait_synced()
            await self._clusters.wait_synced()
            while True:
                self._changed.clear()
                again = await self._look()
                try:
                    async with asyncio.timeout(again):
                        await self._changed.wait()
                except TimeoutError:
                    pass  # time has come for something

    async def _look(self) -> float | None:
        """Seconds until the next look, when nothing changes before."""
        remedies = self._remedies.list()
        waits: list[float] = []
        for cluster in self._clusters.list():
            known = (cluster.get("status") or {}).get("remedies") or []
            if not remedies and not known:
                continue
            if self._isolated():
                waits.append(RETRY)
                continue
            found = in_force(cluster, [one for one in remedies if _means(one, cluster)], self._now())
            if found.again is not None:
                waits.append(found.again)
            if list(found.entries) != known and not await self._write(cluster, list(found.entries)):
                waits.append(RETRY)
        return min(waits, default=None)

    async def _write(self, cluster: Object, entries: list[Object]) -> bool:
        name = cluster["metadata"]["name"]
        version = {"resourceVersion": cluster["metadata"]["resourceVersion"]}
        body = {"metadata": version, "status": {"remedies": entries}}
        try:
            await self._client.patch(CLUSTERS, name, body, subresource="status", patch_type="merge")
        except (Conflict, NotFound):
            return False  # what is newer is on its way, and is looked at then
        except ApiError as fault:
            log.warning("remedies of cluster %s are not up to date: %s", name, fault)
            return False
        log.info("cluster %s: remedies in force are %s", name, ", ".join(one["name"] for one in entries) or "none")
        return True


def _means(remedy: Object, cluster: Object) -> bool:
    try:
        return affinity_of(remedy["spec"].get("clusterAffinity")).matches(member_of(cluster))
    except (ValueError, KeyError, TypeError) as wrong:
        log.warning("ClusterRemedy %s cannot be used: %s", remedy["metadata"]["name"], wrong)
        return False

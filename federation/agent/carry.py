"""
Propagation in pull mode: one link, which reads from the federation and writes into the own cluster.
"""

import asyncio
import logging

from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key
from cluster.machinery.status_errors import ApiError
from federation.agent.placed_secrets import PlacedSecrets
from federation.agent.reporter import AgentReporter
from federation.api.resources import CLUSTERS
from federation.controllers.links.link import Link
from federation.controllers.links.sources import Sources, informers
from federation.controllers.propagate import RESTART
from federation.controllers.templates import Templates

LOOK = 2.0  # seconds between looks at what the link has found
log = logging.getLogger(__name__)


async def carry(reading: ApiClient, writing: ApiClient, member: ApiClient, cluster: str, clusters: Informer) -> None:
    """
    Until cancelled.

    Args:
        reading: The federation's, with connections enough for a watch a kind and a placed Secret.
        writing: The federation's.
        clusters: Of Cluster objects; somebody else runs it.
    """
    read = informers(reading)

    def informer_of(resource: Resource, managed_fields: bool) -> Informer:
        if resource.qualified == "secrets":
            return PlacedSecrets(reading, read["placements"], cluster)
        return Informer(reading, resource, managed_fields=managed_fields)

    templates = Templates(reading, informer_of)
    sources = Sources(templates, clusters=clusters, **read)
    reporter = AgentReporter(writing, cluster, sources)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(templates.run(), name="templates")
        for informer in read.values():
            tasks.create_task(informer.run(), name=informer.resource.qualified)
        tasks.create_task(reporter.run(), name="reports")
        await sources.wait_synced()
        while True:
            link = Link(cluster, member, sources, reporter)
            telling = tasks.create_task(_tell_conditions(writing, cluster, link, clusters), name="conditions")
            try:
                await link.run()
            except Exception:
                log.exception("the link failed and is started again")
            finally:
                telling.cancel()
            await asyncio.sleep(RESTART)


async def _tell_conditions(federation: ApiClient, cluster: str, link: Link, clusters: Informer) -> None:
    """What the link found that concerns the whole member, when it changes. Until cancelled."""
    while True:
        found = [{"type": one.type, "reason": one.reason, "message": one.message} for one in link.conditions]
        status = (clusters.get(Key("", cluster)) or {}).get("status") or {}
        if found != (status.get("agentConditions") or []):
            try:
                change = {"status": {"agentConditions": found}}
                await federation.patch(CLUSTERS, cluster, change, subresource="status")
            except ApiError as fault:
                log.warning("what waits in the cluster is not told: %s", fault)
        await asyncio.sleep(LOOK)

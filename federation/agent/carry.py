"""
Propagation in pull mode: one link, which reads from the federation and writes into the own cluster.
"""

import asyncio
import logging

from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from federation.agent.placed_secrets import PlacedSecrets
from federation.agent.reporter import AgentReporter
from federation.controllers.links.link import Link
from federation.controllers.links.sources import Sources, informers
from federation.controllers.propagate import RESTART
from federation.controllers.templates import Templates

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
            try:
                await Link(cluster, member, sources, reporter).run()
            except Exception:
                log.exception("the link failed and is started again")
            await asyncio.sleep(RESTART)

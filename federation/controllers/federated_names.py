"""
The names of federated Services, as one piece of work of the controller manager: what it needs, put together.

Shares the informers of Clusters and of credentials, and the judgement of isolation, with WatchMembers.
"""

import asyncio
import logging
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from federation.api.resources import CLUSTER_DNS_POLICIES, DNS_POLICIES, DNS_RECORD_SETS, PLACEMENTS
from federation.controllers.member_services import MemberServices
from federation.controllers.publish_dns import PublishDns, PublishSettings, Sources
from federation.controllers.watch_members import WatchMembers

log = logging.getLogger(__name__)

RETRY = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class DnsOptions:
    federation: str
    """Its name."""
    zone: str


async def keep_names(client: ApiClient, watching: WatchMembers, options: DnsOptions) -> None:
    """Until cancelled."""
    kinds = (resources.SERVICES, PLACEMENTS, DNS_POLICIES, CLUSTER_DNS_POLICIES, DNS_RECORD_SETS)
    services, placements, policies, cluster_policies, record_sets = own = [Informer(client, kind) for kind in kinds]
    sources = Sources(services, placements, watching.clusters, policies, cluster_policies, record_sets)
    members = MemberServices(watching.clusters, watching.secrets)
    settings = PublishSettings(options.federation, await federation_uid(client), options.zone)
    publish = PublishDns(settings, client, sources, members, isolated=lambda: watching.isolated)
    async with asyncio.TaskGroup() as tasks:
        for informer in own:
            tasks.create_task(informer.run(), name=f"{informer.resource.plural} for names")
        tasks.create_task(members.run(), name="Services in members")
        tasks.create_task(publish.run(), name="names of Services")


async def federation_uid(client: ApiClient) -> str:
    """Of kube-system, which nobody can delete: whose owner records in a zone elsewhere are."""
    while True:
        try:
            return str((await client.get(resources.NAMESPACES, "kube-system"))["metadata"]["uid"])
        except ApiError as fault:
            log.warning("the federation does not say who it is: %s", fault)
            await asyncio.sleep(RETRY)

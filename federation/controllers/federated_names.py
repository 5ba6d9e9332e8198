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
from federation.controllers.hostnames import Hostnames
from federation.controllers.member_services import MemberServices
from federation.controllers.publish_dns import PublishDns, PublishSettings, Sources
from federation.controllers.watch_members import WatchMembers
from federation.dns.providers.choose import ProviderOptions, provider_of
from federation.dns.providers.provider import Provider, ProviderError

log = logging.getLogger(__name__)

RETRY = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class DnsOptions:
    federation: str
    """Its name."""
    zone: str
    provider: ProviderOptions
    epoch: int | None = None
    """Of our leadership; None: nobody else ever leads."""


async def keep_names(client: ApiClient, watching: WatchMembers, options: DnsOptions) -> None:
    """Until cancelled. Raises OptionsError, KeyFileError when the provider cannot be what the options say."""
    kinds = (resources.SERVICES, PLACEMENTS, DNS_POLICIES, CLUSTER_DNS_POLICIES, DNS_RECORD_SETS)
    services, placements, policies, cluster_policies, record_sets = own = [Informer(client, kind) for kind in kinds]
    sources = Sources(services, placements, watching.clusters, policies, cluster_policies, record_sets)
    members = MemberServices(watching.clusters, watching.secrets, client.config)
    settings = PublishSettings(options.federation, await federation_uid(client), options.zone)
    provider = provider_of(options.provider, settings.uid, options.epoch)
    hostnames = Hostnames()
    publish = PublishDns(
        settings, client, sources, members,
        isolated=lambda: watching.isolated, provider=provider, resolve=hostnames.addresses,
    )  # fmt: skip
    hostnames.changed = publish.look_again
    async with asyncio.TaskGroup() as tasks:
        for informer in own:
            tasks.create_task(informer.run(), name=f"{informer.resource.plural} for names")
        tasks.create_task(members.run(), name="Services in members")
        tasks.create_task(publish.run(), name="names of Services")
        tasks.create_task(hostnames.run(), name="hostnames of load balancers")
        if provider is not None:
            tasks.create_task(provider.run(), name="DNS provider")
            tasks.create_task(_check(provider), name="first look at the DNS provider")


async def _check(provider: Provider) -> None:
    """Tell an operator at the start what else would be found out name by name."""
    try:
        for doubt in await provider.check():
            log.warning("%s", doubt)
    except ProviderError as fault:
        log.error("names cannot be published: %s", fault)


async def federation_uid(client: ApiClient) -> str:
    """Of kube-system, which nobody can delete: whose owner records in a zone elsewhere are."""
    while True:
        try:
            return str((await client.get(resources.NAMESPACES, "kube-system"))["metadata"]["uid"])
        except ApiError as fault:
            log.warning("the federation does not say who it is: %s", fault)
            await asyncio.sleep(RETRY)

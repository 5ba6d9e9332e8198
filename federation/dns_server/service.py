"""The zone's name server as a running service: an informer fills the zone, sockets answer from it."""

import asyncio
import logging
from dataclasses import dataclass

from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.dns.server import DnsServer
from cluster.machinery.objects import Object, key_of
from cluster.machinery.systemd import notify_ready
from federation.api.resources import DNS_RECORD_SETS
from federation.dns.recordsets import from_spec
from federation.dns_server.responder import FederationResponder, RateLimit
from federation.dns_server.zone import FederationZone

log = logging.getLogger(__name__)

READY_AT_LAST = 30.0  # seconds; then systemd hears that we run, though every answer is SERVFAIL


@dataclass(frozen=True, slots=True)
class DnsServerSettings:
    bind_address: str
    port: int
    zone: str
    servers: dict[str, list[str]]
    """Name servers of the zone -> addresses; the first is this one."""
    rate_limit: int
    """UDP answers a second to one source; 0: no limit."""


def feed(zone: FederationZone, record_sets: Informer) -> None:
    """Keep the zone at what the informer knows. When the apiserver is away, that is what it said last."""

    def changed(obj: Object) -> None:
        zone.put(key_of(obj), from_spec(obj.get("spec") or {}))

    def gone(obj: Object) -> None:
        zone.put(key_of(obj), None)

    record_sets.add_handler(changed, lambda _, new: changed(new), gone)


async def serve(settings: DnsServerSettings, client: ApiClient) -> None:
    """Run until cancelled. Raises OSError when it cannot listen."""
    zone = FederationZone(settings.zone, settings.servers)
    responder = FederationResponder(zone, RateLimit(settings.rate_limit))
    record_sets = Informer(client, DNS_RECORD_SETS)
    feed(zone, record_sets)
    async with DnsServer(responder, settings.bind_address, settings.port) as server, asyncio.TaskGroup() as tasks:
        log.info("answering on %s:%s for %s", settings.bind_address, server.port, settings.zone)
        tasks.create_task(record_sets.run())
        complete = tasks.create_task(_complete(zone, record_sets))
        await asyncio.wait([complete], timeout=READY_AT_LAST)
        notify_ready()


async def _complete(zone: FederationZone, record_sets: Informer) -> None:
    await record_sets.wait_synced()
    zone.synced = True
    zone.forget_compiled()
    log.info("the zone is complete: %s names", zone.names)

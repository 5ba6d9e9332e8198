"""The zone's name server as a running service: an informer fills the zone, sockets answer from it."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_address

from cluster.api import resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.dns.server import DnsServer
from cluster.machinery.objects import Object, key_of
from cluster.machinery.status_errors import ApiError
from cluster.machinery.systemd import notify_ready
from federation.api.resources import DNS_RECORD_SETS
from federation.dns.key_files import TsigSecret
from federation.dns.recordsets import from_spec
from federation.dns.secondaries import Secondary
from federation.dns_server.notify import Notifier
from federation.dns_server.rate_limit import RateLimit
from federation.dns_server.responder import FederationResponder
from federation.dns_server.tsig import KeyRing
from federation.dns_server.zone import FederationZone

log = logging.getLogger(__name__)

READY_AT_LAST = 30.0  # seconds; then systemd hears that we run, though every answer is SERVFAIL
RETRY = 1.0  # seconds
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class DnsServerSettings:
    bind_address: str
    port: int
    zone: str
    servers: dict[str, list[str]]
    """Name servers of the zone -> addresses; the first is this one."""
    rate_limit: int
    """UDP answers a second to one network; 0: no limit."""
    keys: Sequence[TsigSecret] = ()
    """Whoever has one may transfer the zone; the first signs what we send."""
    secondaries: Sequence[Secondary] = ()
    """Told of every change."""
    allow_transfer: Sequence[Network] = ()
    """From where transfers may be asked for, signed, besides; none: from the secondaries, and if there are none, from
    everywhere."""


def feed(zone: FederationZone, record_sets: Informer) -> None:
    """Keep the zone at what the informer knows. When the apiserver is away, that is what it said last."""

    def changed(obj: Object) -> None:
        zone.put(key_of(obj), from_spec(obj.get("spec") or {}), _version(obj))

    def gone(obj: Object) -> None:
        zone.put(key_of(obj), None, _version(obj))

    record_sets.add_handler(changed, lambda _, new: changed(new), gone)


def _version(obj: Object) -> int:
    return _number(obj["metadata"].get("resourceVersion"))


def _number(version: object) -> int:
    text = str(version or "")
    return int(text) if text.isdigit() else 0


async def serve(settings: DnsServerSettings, client: ApiClient) -> None:
    """Run until cancelled. Raises OSError when it cannot listen."""
    zone = FederationZone(settings.zone, settings.servers)
    keys = KeyRing(settings.keys)
    notifier = Notifier(zone, settings.secondaries, settings.bind_address, keys.first)
    limit = RateLimit(settings.rate_limit)
    responder = FederationResponder(zone, limit, keys, _may_transfer(settings), notifier.served)
    record_sets = Informer(client, DNS_RECORD_SETS)
    feed(zone, record_sets)
    async with DnsServer(responder, settings.bind_address, settings.port) as server, asyncio.TaskGroup() as tasks:
        log.info("answering on %s:%s for %s", settings.bind_address, server.port, settings.zone)
        tasks.create_task(record_sets.run())
        tasks.create_task(notifier.run())
        complete = tasks.create_task(_complete(zone, record_sets, client))
        await asyncio.wait([complete], timeout=READY_AT_LAST)
        notify_ready()


def _may_transfer(settings: DnsServerSettings) -> "Allowed":
    own = {secondary.address for secondary in settings.secondaries}
    return Allowed(settings.allow_transfer, own)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Whether an address may transfer."""

    networks: Sequence[Network]
    addresses: set[str]

    def __call__(self, source: str) -> bool:
        if not self.networks:
            return not self.addresses or source in self.addresses
        address = ip_address(source.partition("%")[0])
        return any(address in network for network in self.networks)


async def _complete(zone: FederationZone, record_sets: Informer, client: ApiClient) -> None:
    await record_sets.wait_synced()
    zone.epoch = await _born(client)
    zone.complete(_number(record_sets.last_version))
    log.info("the zone is complete: %s names, serial %s", zone.names, zone.serial)


async def _born(client: ApiClient) -> int:
    """
    When the federation was made. Serials count on from there: a federation that is made again, whose store starts
    with version 1, is not behind what secondaries have of the one before.
    """
    while True:
        try:
            namespace = await client.get(resources.NAMESPACES, "kube-system")
            return int(datetime.fromisoformat(namespace["metadata"]["creationTimestamp"]).timestamp())
        except (ApiError, ValueError) as error:
            log.warning("cannot tell when the federation was made, trying again: %s", error)
            await asyncio.sleep(RETRY)

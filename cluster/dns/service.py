"""
Cluster DNS as a running service: informers fill the zone, the server answers from it.

Answers SERVFAIL for the cluster's names until everything is known once; other names work from the start.
"""

import asyncio
import logging
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from cluster.api import resources
from cluster.client.health_server import HealthServer, serving
from cluster.client.informer import Informer
from cluster.client.metrics import Gauge
from cluster.client.rest import ApiClient
from cluster.dns.access import Access
from cluster.dns.federations import NameSettings
from cluster.dns.forwarding import read_resolvers
from cluster.dns.imports import Imports
from cluster.dns.listening import ensure_address
from cluster.dns.live_settings import LiveSettings
from cluster.dns.records import service_records
from cluster.dns.responder import Responder
from cluster.dns.routes import Routes
from cluster.dns.server import DnsServer
from cluster.dns.zone import Zone
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.systemd import notify, notify_ready

log = logging.getLogger(__name__)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
# systemd ends a unit that is not ready after 90 s; a host whose apiserver is away still gets its forwarding.
READY_AT_LAST = 30.0  # seconds

FAST_ANSWERS = Gauge("cluster_dns_spliced_answers_total", "Answers given from compiled bytes.")
SERVICES = Gauge("cluster_dns_services", "Services whose records are served.")


@dataclass(frozen=True, slots=True)
class DnsSettings:
    bind_address: str
    port: int
    cluster_domain: str
    service_cidr: str
    cluster_cidr: str
    interface: str
    """Created with the address when missing; empty: the address has to be there."""
    forward: Path
    """A resolv.conf."""
    healthz: tuple[str, int]
    metrics: tuple[str, int]
    ttl: int
    """Seconds."""
    names: NameSettings
    """What the flags say; the ConfigMap kube-system/kube-dns adds to it."""


class ZoneFeeder:
    """Keeps the zone at what the informers know."""

    def __init__(self, zone: Zone, services: Informer, slices: Informer) -> None:
        self._zone = zone
        self._services = services
        self._slices = slices
        slices.add_index("by-service", lambda obj: [str(service_of(obj))])
        services.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)
        slices.add_handler(self._slice_changed, self._slice_updated, self._slice_changed)

    def _changed(self, service: Object) -> None:
        self._refresh(key_of(service))

    def _slice_changed(self, each: Object) -> None:
        self._refresh(service_of(each))

    def _slice_updated(self, old: Object, new: Object) -> None:
        if service_of(old) != service_of(new):
            self._refresh(service_of(old))
        self._refresh(service_of(new))

    def _refresh(self, key: Key) -> None:
        service = self._services.get(key)
        if service is None:
            self._zone.put(key, None)
            self._zone.set_ready(key, False)
            return
        slices = self._slices.by_index("by-service", str(key))
        # readiness first: whoever sees the new name sees where it leads
        self._zone.set_ready(key, _is_external(service) or any(map(has_ready, slices)))
        self._zone.put(key, service_records(service, slices if _is_headless(service) else [], self._zone.domain))


def _is_external(service: Object) -> bool:
    return (service.get("spec") or {}).get("type") == "ExternalName"


def has_ready(each: Object) -> bool:
    """Whether one endpoint of the slice takes traffic; an unknown readiness counts as ready."""
    return any((one.get("conditions") or {}).get("ready") is not False for one in each.get("endpoints") or ())


def _is_headless(service: Object) -> bool:
    return (service.get("spec") or {}).get("clusterIP") == "None"


def service_of(each: Object) -> Key:
    """The Service that an EndpointSlice belongs to; an empty name for one without the label."""
    metadata = each.get("metadata") or {}
    return Key(metadata.get("namespace") or "", (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL) or "")


async def serve_dns(settings: DnsSettings, client: ApiClient) -> None:
    """Run until cancelled. Raises InterfaceError or OSError when it cannot listen."""
    if settings.interface:
        ensure_address(settings.interface, settings.bind_address)
    zone = Zone(
        settings.cluster_domain,
        IPv4Address(settings.bind_address).packed,
        [settings.service_cidr, settings.cluster_cidr],
        settings.ttl,
    )
    routes = Routes(read_resolvers(settings.forward, settings.bind_address), settings.bind_address)
    responder = Responder(zone, routes, Access([settings.cluster_cidr]))
    live = LiveSettings(client, zone, routes, settings.names)
    services = Informer(client, resources.SERVICES)
    slices = Informer(client, resources.ENDPOINT_SLICES)
    ZoneFeeder(zone, services, slices)
    imports = Imports(client, zone, slices)
    FAST_ANSWERS.set_function(lambda: float(responder.fast_answers))
    SERVICES.set_function(lambda: float(zone.owners))

    async def everybody(_: object) -> bool:
        return True  # loopback or pod network only: the address says who reaches it

    # ready only with the zone complete; alive in any case
    health = HealthServer({"synced": lambda: zone.synced})
    metrics = HealthServer({"synced": lambda: zone.synced}, allow=everybody)
    try:
        async with (
            serving(health, host=settings.healthz[0], port=settings.healthz[1], context=None),
            serving(metrics, host=settings.metrics[0], port=settings.metrics[1], context=None),
            DnsServer(responder, settings.bind_address, settings.port) as server,
            asyncio.TaskGroup() as tasks,
        ):
            log.info("answering on %s:%s for %s", settings.bind_address, server.port, settings.cluster_domain)
            tasks.create_task(services.run())
            tasks.create_task(slices.run())
            tasks.create_task(live.run())
            tasks.create_task(imports.run())
            await _announce(zone, services, slices)
    finally:
        await routes.close()


async def _announce(zone: Zone, services: Informer, slices: Informer) -> None:
    """READY=1 once the zone is complete, or after READY_AT_LAST without it."""

    async def complete() -> None:
        await services.wait_synced()
        await slices.wait_synced()
        zone.synced = True
        zone.forget_compiled()

    try:
        async with asyncio.timeout(READY_AT_LAST):
            await complete()
    except TimeoutError:
        notify("STATUS=no apiserver answers yet: cluster names fail, others are resolved")
        notify_ready()
        await complete()
    notify_ready()
    log.info("the zone is complete: %s Services", zone.owners)

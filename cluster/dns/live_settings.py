"""
Follows the ConfigMap kube-system/kube-dns: what is changed there, holds at once, on every node.

What cannot be read leaves everything as it was. Where this cluster is (zone, region), which names of federations
need, is read from any Node's labels, as kube-dns does.
"""

import asyncio
import logging

from cluster.api import resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.dns.federations import ConfigError, NameSettings, read_config_map, stub_zones
from cluster.dns.routes import Routes
from cluster.dns.zone import Zone
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError

log = logging.getLogger(__name__)

NAMESPACE, NAME = "kube-system", "kube-dns"
LOOK_AGAIN = 300.0  # seconds
TRY_AGAIN = 10.0  # seconds, while no Node tells where it is
ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
REGION_LABELS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
MAX_NODES = 100


class LiveSettings:
    """`base`: what the flags say."""

    def __init__(self, client: ApiClient, zone: Zone, routes: Routes, base: NameSettings) -> None:
        self._client = client
        self._zone = zone
        self._routes = routes
        self._base = base
        self._wanted = asyncio.Event()
        self._informer = Informer(
            client, resources.CONFIG_MAPS, namespace=NAMESPACE, field_selector=f"metadata.name={NAME}"
        )
        self._informer.add_handler(self._changed, lambda _, new: self._changed(new), lambda _: self._apply(base))
        self._apply(base)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informer.run())
            tasks.create_task(self._locate())

    def _changed(self, config_map: Object) -> None:
        try:
            settings = read_config_map(config_map.get("data") or {})
        except ConfigError as error:
            log.error("ConfigMap %s/%s is not usable, what was before stays: %s", NAMESPACE, NAME, error)
            return
        self._apply(settings.over(self._base))

    def _apply(self, settings: NameSettings) -> None:
        self._routes.set_zones(stub_zones(settings), settings.upstream)
        self._zone.set_federations(settings.federations)
        if settings.federations:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def _locate(self) -> None:
        while True:
            await self._wanted.wait()
            found = ("", "")
            try:
                nodes = await self._client.list(resources.NODES, limit=MAX_NODES, metadata_only=True)
                found = location(nodes.get("items") or ())
            except ApiError as error:
                log.warning("cannot read in which zone and region this cluster is, trying again: %s", error)
            if any(found):
                self._zone.set_location(*found)
            await asyncio.sleep(LOOK_AGAIN if any(found) else TRY_AGAIN)


def location(nodes: "list[Object] | tuple[Object, ...]") -> tuple[str, str]:
    """(zone, region) of the first Node that has both, else of one that has something; empty: none says."""
    best = ("", "")
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        zone, region = (
            next((labels[name] for name in names if labels.get(name)), "") for names in (ZONE_LABELS, REGION_LABELS)
        )
        if zone and region:
            return zone, region
        best = best if any(best) else (zone, region)
    return best

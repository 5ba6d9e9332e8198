"""
Give back addresses and node ports that no Service has: a server died between taking one and storing its Service.

What looks orphaned in two rounds in a row is freed; a Service that is just being made needs far less than a round.
"""

import asyncio
import logging

from cluster.api import resources
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.registry.services import IP_ADDRESSES, NODE_PORTS_PLACE, Allocator, held_ports
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from cluster.store.backend import StoreError
from cluster.store.object_store import ObjectStore
from cluster.store.watch_cache import TooNewError, WatchCache

log = logging.getLogger(__name__)

INTERVAL = 180.0


def orphans(services: list[Object], addresses: set[str], ports: set[str]) -> tuple[set[str], set[str]]:
    """Of what is taken, the addresses and ports that no Service uses."""
    specs = [service.get("spec") or {} for service in services]
    used_addresses = {address for spec in specs for address in [spec.get("clusterIP"), *(spec.get("clusterIPs") or [])]}
    used_ports = {str(port) for spec in specs for port in held_ports(spec)}
    return addresses - used_addresses, ports - used_ports


async def run(registry: Registry, store: ObjectStore, cache: WatchCache, allocator: Allocator) -> None:
    """For ever."""
    suspected: tuple[set[str], set[str]] = set(), set()
    while True:
        await asyncio.sleep(INTERVAL)
        try:
            # The taken names first: what is taken later cannot be missed among the Services read after it.
            ports = set(await store.names(NODE_PORTS_PLACE))
            await cache.catch_up()
            taken = {
                address["metadata"]["name"]
                for address in registry.list(IP_ADDRESSES)
                if ((address.get("spec") or {}).get("parentRef") or {}).get("resource") == "services"
            }
            found = orphans(list(registry.list(resources.SERVICES)), taken, ports)
            for address in found[0] & suspected[0]:
                log.warning("address %s belongs to no Service, giving it back", address)
                await allocator.free_address(address)
            for port in found[1] & suspected[1]:
                log.warning("node port %s belongs to no Service, giving it back", port)
                await allocator.free_port(int(port))
            suspected = found
        except (ApiError, StoreError, TooNewError) as fault:
            log.warning("addresses and node ports were not checked: %s", fault)

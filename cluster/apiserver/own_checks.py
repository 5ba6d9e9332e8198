"""
What /healthz, /livez and /readyz look at in this server.
"""

import asyncio
from typing import TYPE_CHECKING

from cluster.apiserver import health
from cluster.store.backend import StoreError

if TYPE_CHECKING:
    from cluster.apiserver.app import Apiserver

STORE_SECONDS = 2.0


def own_checks(server: "Apiserver") -> dict[str, dict[str, health.Check]]:
    """By page and name."""

    async def etcd() -> str:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await server.cache.read_revision()
        except (StoreError, TimeoutError) as fault:
            return f"etcd does not answer: {fault}"
        return ""

    async def booted() -> str:
        return "" if server.booted.is_set() else "not finished"

    async def cache() -> str:
        return "" if server.cache.ready else "the cache is still being filled"

    async def shutdown() -> str:
        return "process is shutting down" if server.stopping else ""

    live: dict[str, health.Check] = {
        "ping": health.ping,
        "log": health.ping,
        "etcd": etcd,
        "poststarthook/bootstrap": booted,
    }
    ready: dict[str, health.Check] = {**live, "informer-sync": cache, "shutdown": shutdown}
    return {"healthz": live, "livez": live, "readyz": ready}

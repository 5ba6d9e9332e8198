"""
Which resolvers are asked about a name: those of its zone where one is given to others, else those for everything.

Zones come and go while the server runs; a zone that stays keeps its cache.
"""

import asyncio
from collections.abc import Iterable, Sequence

from cluster.dns.forwarding import Forwarder, Reply
from cluster.dns.names import ROOT, is_below


class Routes:
    """Like a Forwarder, over several. `own`: our address, which would only ask itself."""

    def __init__(self, default: Sequence[tuple[str, int]], own: str = "") -> None:
        self._own = own
        self._default = tuple(default)
        self._by_zone: dict[bytes, Forwarder] = {ROOT: Forwarder(self._default)}
        self._closing: set[asyncio.Task[None]] = set()

    def set_zones(
        self, zones: Iterable[tuple[bytes, Sequence[tuple[str, int]]]], upstream: Sequence[tuple[str, int]] = ()
    ) -> None:
        """Give these zones (wire form) to these resolvers, and everything else to `upstream`, if there is any."""
        wanted = {ROOT: tuple(upstream) or self._default, **{zone: tuple(servers) for zone, servers in zones}}
        old, self._by_zone = self._by_zone, {}
        for zone, servers in sorted(wanted.items(), key=lambda each: -len(each[0])):  # the longest that fits
            resolvers = tuple(server for server in servers if server != (self._own, 53))
            held = old.get(zone)
            if held is not None and held.resolvers == resolvers:
                self._by_zone[zone] = old.pop(zone)
            else:
                self._by_zone[zone] = Forwarder(resolvers)
        for forwarder in old.values():
            task = asyncio.create_task(forwarder.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _for(self, key: bytes) -> Forwarder:
        name = key[:-4]
        return next(forwarder for zone, forwarder in self._by_zone.items() if zone == ROOT or is_below(name, zone))

    def cached(self, key: bytes) -> tuple[Reply, int] | None:
        """See Forwarder."""
        return self._for(key).cached(key)

    async def resolve(self, key: bytes) -> tuple[Reply, int] | None:
        """See Forwarder."""
        return await self._for(key).resolve(key)

    async def close(self) -> None:
        await asyncio.gather(*(forwarder.close() for forwarder in self._by_zone.values()), *self._closing)

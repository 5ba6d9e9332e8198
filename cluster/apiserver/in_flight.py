"""
Where every request begins and ends, whichever door it came through: its place among those that run, and its count.
"""

import asyncio
from collections.abc import Callable

from cluster.apiserver.metrics import RequestMetrics
from cluster.apiserver.router import Route
from cluster.machinery.status_errors import TooManyRequests


class InFlight:
    def __init__(self, metrics: RequestMetrics, max_reads: int, max_writes: int) -> None:
        self.metrics = metrics
        self._limits = {True: max_reads, False: max_writes}
        self._running = {True: 0, False: 0}
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False
        """The server stops: answers tell clients not to come back on this connection."""

    def has_room(self, *, read: bool) -> bool:
        return self._running[read] < self._limits[read]

    def enter(self, *, read: bool) -> None:
        """An ordinary request begins (watches and streams do not count). Raises TooManyRequests."""
        if self._running[read] >= self._limits[read]:
            raise TooManyRequests("too many requests, please try again later", retry_after=1)
        self._running[read] += 1
        if self.draining:
            self._idle.clear()

    def leave(self, *, read: bool) -> None:
        """It no longer runs; its answer may still be on the way."""
        self._running[read] -= 1
        if self.draining and not any(self._running.values()):
            self._idle.set()

    def ended(self, found: Route, status: int, seconds: float) -> None:
        """An answer was made."""
        self.metrics.count(found, status, seconds)

    def ended_well(self, found: Route) -> Callable[[float], None]:
        """`ended` with 200 for the requests of one URL, which are many: call the result with the seconds."""
        return self.metrics.counter(found, 200)

    async def drained(self, seconds: float) -> bool:
        """Wait until no ordinary request runs. Returns whether that was so in time."""
        if any(self._running.values()):
            self._idle.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

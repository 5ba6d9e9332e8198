"""
Where every request begins and ends, whichever door it came through: its place among those that run, and its count.
"""

import asyncio
from collections.abc import Callable

from cluster.apiserver.flow_control.controller import Flow, FlowControl
from cluster.apiserver.flow_control.level import Seat
from cluster.apiserver.metrics import RequestMetrics
from cluster.apiserver.requests import Attributes
from cluster.apiserver.router import Route
from cluster.machinery.status_errors import TooManyRequests

_READS = frozenset({"get", "list", "watch"})


class Place:
    """One running request. `leave` once it no longer runs; its answer may still be on the way."""

    __slots__ = ("_in_flight", "_read", "_seat", "flow")

    def __init__(self, in_flight: "InFlight", seat: Seat | None, flow: Flow | None, *, read: bool) -> None:
        self._in_flight: InFlight | None = in_flight
        self._seat = seat
        self._read = read
        self.flow = flow
        """How it was classified; None without priority and fairness."""

    def delegate(self) -> None:
        """Another server works on it from now on: it still runs, but its seat is free."""
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.leave()

    def leave(self) -> None:
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None:
            if self._seat is not None:
                self._seat.leave()
            in_flight.left(read=self._read)


class InFlight:
    """
    Ordinary requests; watches and streams do not count.

    With `flow_control`, priority levels share the sum of both limits; without it, reads and writes have one each.
    """

    def __init__(
        self, metrics: RequestMetrics, max_reads: int, max_writes: int, flow_control: FlowControl | None = None
    ) -> None:
        self.metrics = metrics
        self.flow_control = flow_control
        self._limits = {True: max_reads, False: max_writes}
        self._running = {True: 0, False: 0}
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False
        """The server stops: answers tell clients not to come back on this connection."""

    def try_enter_read(self, flow: Flow | None, width: int) -> Place | None:
        """A place for a read, if there is one at once."""
        if flow is not None:
            seat = flow.level.try_enter(width)
            return None if seat is None else self._enter(seat, flow, read=True)
        return self._enter(None, None, read=True) if self._running[True] < self._limits[True] else None

    def try_enter_write(self, flow: Flow | None) -> Place | None:
        """A place for a write, if there is one at once."""
        if flow is not None:
            seat = flow.level.try_enter(1)
            return None if seat is None else self._enter(seat, flow, read=False)
        return self._enter(None, None, read=False) if self._running[False] < self._limits[False] else None

    async def enter(self, asked: Attributes, seconds: float) -> Place:
        """
        A place for any request, which has `seconds` in all. Raises TooManyRequests, perhaps after waiting.
        """
        read = asked.verb in _READS
        if self.flow_control is not None:
            flow = self.flow_control.classify(asked)
            seat = await self.flow_control.enter(flow, self.flow_control.width(asked), seconds)
            return self._enter(seat, flow, read=read)
        if self._running[read] >= self._limits[read]:
            raise TooManyRequests("Too many requests, please try again later.", retry_after=1)
        return self._enter(None, None, read=read)

    def _enter(self, seat: Seat | None, flow: Flow | None, *, read: bool) -> Place:
        self._running[read] += 1
        if self.draining:
            self._idle.clear()
        return Place(self, seat, flow, read=read)

    def left(self, *, read: bool) -> None:
        """Called by places."""
        self._running[read] -= 1
        if self.draining and not any(self._running.values()):
            self._idle.set()

    def ended(self, found: Route, status: int, seconds: float) -> None:
        """An answer was made."""
        self.metrics.count(found, status, seconds)

    def ended_with(self, found: Route, status: int) -> Callable[[float], None]:
        """`ended` with that status for the requests of one URL, which are many: call the result with the seconds."""
        return self.metrics.counter(found, status)

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

"""
Priority and fairness as the server uses it: classify a request once, then ask for its seat.

The configuration is read from the cache whenever a FlowSchema or a PriorityLevelConfiguration changes; seats are lent
and taken back every ten seconds by demand. Answers to "which flow is this?" are kept until then.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable

from cluster.apiserver.flow_control import limits, schemas
from cluster.apiserver.flow_control.conditions import FLOW_SCHEMAS, PRIORITY_LEVELS
from cluster.apiserver.flow_control.level import Level, Rejected, Seat
from cluster.apiserver.flow_control.schemas import FlowSchema
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.requests import Attributes
from cluster.machinery.status_errors import TooManyRequests

ADJUST_SECONDS = 10.0
KNOWN_FLOWS = 8192
OBJECTS_PER_SEAT, MOST_SEATS = 100, 10
"""A list is as wide as what it has to go through; everything else is one seat wide."""
_WAIT_SHARE = 0.25
"""Of a request's time, how much it may spend waiting for its seat."""


def list_width(kind: Kind, namespace: str) -> int:
    """Seats of a list: by the number of objects that it goes through."""
    return min(max(kind.cache.count(namespace) // OBJECTS_PER_SEAT, 1), MOST_SEATS)


class Flow:
    """Where a kind of request queues. Valid as long as `FlowControl.generation` is what it was."""

    __slots__ = ("hash", "headers", "level", "lines")

    def __init__(self, level: Level, number: int, schema_uid: str) -> None:
        self.level = level
        self.hash = number
        self.headers = {
            "X-Kubernetes-PF-FlowSchema-UID": schema_uid,
            "X-Kubernetes-PF-PriorityLevel-UID": level.settings.uid,
        }
        """What the answer tells about it."""
        self.lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items()).encode()
        """The same as they go over the wire."""


class FlowControl:
    """`run` in a task."""

    def __init__(self, registry: Registry, server_seats: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._server_seats = server_seats
        self._clock = clock
        self._levels: dict[str, Level] = {}
        self._seats: dict[str, limits.Seats] = {}
        self._demand: dict[str, limits.Demand] = {}
        self._schemas: list[FlowSchema] = []
        self._known: dict[tuple[object, ...], Flow] = {}
        self._stale = True
        self.generation = 0
        for resource in (FLOW_SCHEMAS, PRIORITY_LEVELS):
            registry.kind(resource).cache.subscribe(lambda change: self._forget(), self._forget)

    async def run(self) -> None:
        """For ever: lends seats to levels that need them, and takes them back."""
        while True:
            await asyncio.sleep(ADJUST_SECONDS)
            self.adjust()

    # Classifying.

    def classify(self, asked: Attributes) -> Flow:
        """The flow of a request; never fails, since the catch-all schema matches everything."""
        if self._stale:
            self._configure()
        user = asked.user
        key = (
            user.name, user.groups, asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace,
            "" if asked.is_resource else asked.path,
        )  # fmt: skip
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= KNOWN_FLOWS:
                self._known.clear()
            found = self._known[key] = self._find(asked)
        return found

    def _find(self, asked: Attributes) -> Flow:
        schema = next((one for one in self._schemas if one.matches(asked)), schemas.CATCH_ALL)
        told = f"{schema.name}\0{schema.flow_of(asked)}".encode()
        number = int.from_bytes(hashlib.blake2b(told, digest_size=8).digest())
        return Flow(self._levels[schema.level], number, schema.uid)

    def width(self, asked: Attributes) -> int:
        """Seats that the request takes."""
        if asked.verb != "list":
            return 1
        kind = self._registry.find(asked.group, asked.version, asked.resource)
        return 1 if kind is None or asked.name else list_width(kind, asked.namespace)

    # Seats.

    async def enter(self, flow: Flow, width: int, seconds: float) -> Seat:
        """
        Wait for a seat, at most a part of the `seconds` that the request has.

        Raises TooManyRequests, at once or after waiting.
        """
        try:
            return await flow.level.wait(flow.hash, width, seconds * _WAIT_SHARE)
        except Rejected:
            raise TooManyRequests("Too many requests, please try again later.", retry_after=1) from None

    # Configuration.

    def _forget(self) -> None:
        self._stale = True
        self.generation += 1

    def _configure(self) -> None:
        self._stale = False
        self._known.clear()
        settings = {one.name: one for one in map(limits.read_level, self._registry.list(PRIORITY_LEVELS))}
        for mandatory in (limits.EXEMPT, limits.CATCH_ALL):
            settings.setdefault(mandatory.name, mandatory)
        for name, own in settings.items():
            if name in self._levels:
                self._levels[name].use(own)
            else:
                self._levels[name] = Level(own, self._clock)
        # Those who wait in a level that is gone get their seats yet; nobody new comes.
        gone = [name for name in self._levels if name not in settings]
        for name in gone:
            if not self._levels[name].waiting and not self._levels[name].used:
                del self._levels[name]
        self._seats = limits.share_out(self._server_seats, list(settings.values()))
        self._schemas = schemas.in_order(map(schemas.read_schema, self._registry.list(FLOW_SCHEMAS)), settings)
        self._lend()

    def adjust(self) -> None:
        """Once a period: what was wanted decides who lends and who borrows."""
        for name, level in self._levels.items():
            average, deviation, high = level.take_demand()
            before = self._demand.get(name, limits.Demand()).smoothed
            self._demand[name] = limits.Demand.after(average, deviation, high, before)
        if not self._stale:
            self._lend()

    def _lend(self) -> None:
        exempt = frozenset(name for name in self._seats if self._levels[name].settings.exempt)
        if not self._demand:
            present = {name: seats.nominal for name, seats in self._seats.items()}
        else:
            present = limits.adjust(self._server_seats, self._seats, exempt, self._demand)
        for name, seats in present.items():
            self._levels[name].set_limit(max(seats, 1))

    # Metrics.

    def render(self) -> list[str]:
        """Lines for /metrics."""
        rows: dict[str, list[str]] = {
            "apiserver_flowcontrol_nominal_limit_seats gauge": [],
            "apiserver_flowcontrol_current_limit_seats gauge": [],
            "apiserver_flowcontrol_current_executing_seats gauge": [],
            "apiserver_flowcontrol_current_inqueue_requests gauge": [],
            "apiserver_flowcontrol_dispatched_requests_total counter": [],
            "apiserver_flowcontrol_rejected_requests_total counter": [],
        }
        for name, level in self._levels.items():
            nominal = self._seats[name].nominal if name in self._seats else 0
            values = (nominal, level.limit, level.used, level.waiting, level.dispatched)
            for row, value in zip(list(rows.values())[:5], values, strict=True):
                row.append(f'{{priority_level="{name}"}} {value}')
            for reason, times in level.rejected.items():
                if times:
                    rows["apiserver_flowcontrol_rejected_requests_total counter"].append(
                        f'{{priority_level="{name}",reason="{reason}"}} {times}'
                    )
        lines = []
        for title, values_of in rows.items():
            lines.append(f"# TYPE {title}")
            metric = title.partition(" ")[0]
            lines += [f"{metric}{value}" for value in values_of]
        return lines

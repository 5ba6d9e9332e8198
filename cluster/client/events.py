"""
Tell people what happened to an object: Events, counted instead of repeated.

`record` never waits and never fails its caller; the Events go out in the background, and are dropped, and counted,
when there are too many. Same event again: its count goes up. Many that differ only in their message: one combined
Event. Limits and rules are client-go's, tools/record/events_cache.go.
"""

import asyncio
import datetime
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cluster.api import resources
from cluster.client.metrics import Counter
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.machinery.timestamps import format_time

log = logging.getLogger(__name__)

CACHE_SIZE = 4096
AGGREGATE_AFTER = 10
"""Different messages of one reason on one object within the interval that are kept apart."""
AGGREGATE_INTERVAL = 600.0  # seconds
BURST = 25
"""Events a source may send about one object at once …"""
REFILL = 1 / 300
"""… and how many a second it gets back."""
QUEUE_LENGTH = 1000

DROPPED = Counter("hanse_events_dropped_total", "Events not sent, by cause.", ("cause",))

V = TypeVar("V")


class _Recent(Generic[V]):
    """The entries used last; the oldest fall out."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._entries: OrderedDict[tuple[str, ...], V] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> V:
        entry = self._entries.pop(key, None)
        self._entries[key] = entry = self._make() if entry is None else entry
        if len(self._entries) > CACHE_SIZE:
            self._entries.popitem(last=False)
        return entry


@dataclass(slots=True)
class _Allowance:
    tokens: float = BURST
    at: float = 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(BURST, self.tokens + (now - self.at) * REFILL)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last: float = 0.0


@dataclass(slots=True)
class _Sent:
    name: str = ""
    count: int = 0
    first: str = ""


def reference_to(obj: Object, kind: str = "", api_version: str = "") -> Object:
    """The ObjectReference of an object, for `involvedObject`."""
    metadata = obj.get("metadata") or {}
    fields = {
        "kind": obj.get("kind") or kind,
        "namespace": metadata.get("namespace"),
        "name": metadata.get("name"),
        "uid": metadata.get("uid"),
        "apiVersion": obj.get("apiVersion") or api_version,
        "resourceVersion": metadata.get("resourceVersion"),
    }
    return {key: value for key, value in fields.items() if value}


class Correlator:
    """Decides, without I/O, what becomes of an event: a new one, a higher count, or nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._allowances: _Recent[_Allowance] = _Recent(lambda: _Allowance(at=self._clock()))
        self._similar: _Recent[_Similar] = _Recent(_Similar)
        self._sent: _Recent[_Sent] = _Recent(_Sent)

    def correlate(self, event: Object) -> tuple[Object, _Sent] | None:
        """The event to send, with its memory; None when the object has used up its allowance."""
        now = self._clock()
        about = event["involvedObject"]
        where = tuple(str(about.get(k) or "") for k in ("kind", "namespace", "name", "uid", "fieldPath"))
        source = (event["source"]["component"], event["source"].get("host", ""))
        similar_key = (*source, *where, event["type"], event["reason"])
        similar = self._similar.get(similar_key)
        if now - similar.last > AGGREGATE_INTERVAL:
            similar.messages.clear()
        similar.last = now
        if len(similar.messages) < AGGREGATE_AFTER:
            similar.messages.add(event["message"])
            key = (*similar_key, event["message"])
        elif event["message"] in similar.messages:
            key = (*similar_key, event["message"])
        else:
            event = {**event, "message": f"(combined from similar events): {event['message']}"}
            key = (*similar_key, "combined")
        if not self._allowances.get((*source, *where)).take(now):
            return None
        sent = self._sent.get(key)
        sent.count += 1
        if sent.count == 1:
            sent.name, sent.first = event["metadata"]["name"], event["firstTimestamp"]
        return event, sent


class EventRecorder:
    """
    Records Events of one component.

    Start `run()` in a task of yours. `host` is the node's name for node services, empty for the others.
    """

    def __init__(self, client: ApiClient, component: str, *, host: str = "") -> None:
        self._client = client
        self._component, self._host = component, host
        self._queue: asyncio.Queue[Object] = asyncio.Queue(QUEUE_LENGTH)
        self._correlator = Correlator()
        self._last_suffix = 0

    def record(
        self, obj: Object, event_type: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None:
        """`event_type` is Normal or Warning; `obj` carries kind and apiVersion (everything from an informer does)."""
        about = reference_to(obj)
        if field_path:
            about["fieldPath"] = field_path
        now = format_time(datetime.datetime.now(datetime.UTC))
        self._last_suffix = max(self._last_suffix + 1, time.time_ns())
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{about.get('name', '')}.{self._last_suffix:x}",
                "namespace": about.get("namespace") or "default",
            },
            "involvedObject": about,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": self._component, **({"host": self._host} if self._host else {})},
            "reportingComponent": self._component,
            "reportingInstance": self._host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": event_type,
            **({"action": action} if action else {}),
        }
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            DROPPED.inc("queue full")

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            event = await self._queue.get()
            correlated = self._correlator.correlate(event)
            if correlated is None:
                DROPPED.inc("allowance used up")
                continue
            try:
                await self._send(*correlated)
            except ApiError as error:
                DROPPED.inc("not accepted")
                log.warning("event %s about %s was not accepted: %s", event["reason"], event["involvedObject"], error)

    async def _send(self, event: Object, sent: _Sent) -> None:
        if sent.count > 1:
            patch: Any = {
                "count": sent.count,
                "lastTimestamp": event["lastTimestamp"],
                "message": event["message"],
            }
            try:
                await self._client.patch(
                    resources.EVENTS, sent.name, patch, namespace=event["metadata"]["namespace"], patch_type="merge"
                )
                return
            except NotFound:  # Events live for an hour; this one is over
                sent.name = event["metadata"]["name"]
        await self._client.create(
            resources.EVENTS, {**event, "count": sent.count, "firstTimestamp": sent.first or event["firstTimestamp"]}
        )

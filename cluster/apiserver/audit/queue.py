"""
Events on their way to one backend: in order, delivered by one task, so that a slow disk or a dead webhook holds nobody
up but those that have asked to wait for it.

Called by   recorder.py (`put`), the apiserver's start and end (`run`, `drain`).
Not here    where they go: log_file.py, webhook.py.
Source: k8s.io/apiserver, plugin/pkg/audit/buffered and plugin/pkg/audit/truncate.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson

from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

BATCH, BLOCKING, STRICT = "batch", "blocking", "blocking-strict"
MODES = (BATCH, BLOCKING, STRICT)
_COMPLAIN_EVERY = 10.0
"""Seconds between two messages about lost events."""

Deliver = Callable[[Sequence[bytes]], Awaitable[None]]
"""Takes encoded events; raises OSError when they could not be delivered."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    mode: str
    buffer_size: int
    """Events that may wait in batch mode; more are dropped and counted."""
    max_batch: int
    max_wait: float
    """Seconds that a batch waits to become full."""
    throttle_qps: float
    """Batches a second on average; 0 for any number."""
    throttle_burst: int
    max_event_bytes: int
    """Larger events lose their bodies; 0 for no limit."""
    max_batch_bytes: int


class AuditQueue:
    """`put` from the request, `run` in a task, `drain` when the server ends."""

    def __init__(self, name: str, settings: QueueSettings, deliver: Deliver) -> None:
        self._name = name
        self._settings = settings
        self._deliver = deliver
        self._waiting: deque[tuple[bytes, asyncio.Future[bool] | None]] = deque()
        self._filled = asyncio.Event()
        self._full = asyncio.Event()
        self._tokens, self._refilled = float(settings.throttle_burst), time.monotonic()
        self._complained = 0.0
        self.delivered = 0
        self.lost = 0

    @property
    def strict(self) -> bool:
        return self._settings.mode == STRICT

    def put(self, event: Object) -> asyncio.Future[bool] | None:
        """
        Hand over an event. The result, in the blocking modes, is there to be awaited: False when it was lost.
        """
        data = self._fitted(event)
        if data is None:
            return None
        blocking = self._settings.mode != BATCH
        if not blocking and len(self._waiting) >= self._settings.buffer_size:
            self._lose(1, "audit buffer queue blocked")
            return None
        done = asyncio.get_running_loop().create_future() if blocking else None
        self._waiting.append((data, done))
        self._filled.set()
        if len(self._waiting) >= self._settings.max_batch:
            self._full.set()
        return done

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._filled.wait()
            if self._settings.mode == BATCH and self._settings.max_wait:
                await self._until_full()
            await self._until_allowed()
            await self._send(self._take())

    async def drain(self) -> None:
        """Deliver what is left, without waiting for batches to fill. `run` has been cancelled."""
        while self._waiting:
            await self._send(self._take())

    async def _until_full(self) -> None:
        try:
            async with asyncio.timeout(self._settings.max_wait):
                await self._full.wait()
        except TimeoutError:
            pass  # an incomplete batch has waited long enough

    async def _until_allowed(self) -> None:
        """A token bucket, one token a batch."""
        rate = self._settings.throttle_qps
        while rate:
            now = time.monotonic()
            self._tokens = min(self._settings.throttle_burst, self._tokens + (now - self._refilled) * rate)
            self._refilled = now
            if self._tokens >= 1:
                self._tokens -= 1
                return
            await asyncio.sleep((1 - self._tokens) / rate)

    def _take(self) -> list[tuple[bytes, asyncio.Future[bool] | None]]:
        batch: list[tuple[bytes, asyncio.Future[bool] | None]] = []
        size = 0
        while self._waiting and len(batch) < self._settings.max_batch:
            data = self._waiting[0][0]
            if batch and self._settings.max_batch_bytes and size + len(data) > self._settings.max_batch_bytes:
                break
            batch.append(self._waiting.popleft())
            size += len(data)
        if not self._waiting:
            self._filled.clear()
        if len(self._waiting) < self._settings.max_batch:
            self._full.clear()
        return batch

    async def _send(self, batch: list[tuple[bytes, asyncio.Future[bool] | None]]) -> None:
        try:
            await self._deliver([data for data, _ in batch])
        except OSError as fault:
            good = False
            self._lose(len(batch), str(fault) or type(fault).__name__)
        except BaseException:
            for _, done in batch:
                if done is not None and not done.done():
                    done.set_result(False)
            raise
        else:
            good = True
            self.delivered += len(batch)
        for _, done in batch:
            if done is not None and not done.done():
                done.set_result(good)

    def _fitted(self, event: Object) -> bytes | None:
        data = orjson.dumps(event)
        limit = self._settings.max_event_bytes
        if not limit or len(data) <= limit:
            return data
        kept = {key: value for key, value in event.items() if key not in ("requestObject", "responseObject")}
        if len(kept) < len(event):
            kept["annotations"] = {**(event.get("annotations") or {}), "audit.k8s.io/truncated": "true"}
            data = orjson.dumps(kept)
        if len(data) > limit:
            self._lose(1, "event is too large even after truncating")
            return None
        return data

    def _lose(self, number: int, why: str) -> None:
        self.lost += number
        now = time.monotonic()
        if now - self._complained > _COMPLAIN_EVERY or not self._complained:
            self._complained = now
            log.error("audit backend %s lost %d events, %d so far: %s", self._name, number, self.lost, why)

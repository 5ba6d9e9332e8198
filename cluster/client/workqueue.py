"""
Keys that wait for work: each once, the failed ones later and later.

A key that is added while it is worked on comes back after `done`; no key is ever worked on twice at once.
Source of the contract: client-go, util/workqueue.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BASE_BACKOFF = 0.005  # seconds after the first failure; doubles with each
MAX_BACKOFF = 120.0  # seconds; client-go waits up to 1000, which outlasts every operator's patience


class ShutDown(Exception):
    """Raised by `get` once the queue is closed."""


class WorkQueue(Generic[K]):
    def __init__(self, *, base_backoff: float = BASE_BACKOFF, max_backoff: float = MAX_BACKOFF) -> None:
        self._base_backoff, self._max_backoff = base_backoff, max_backoff
        self._waiting: deque[K] = deque()
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def working(self) -> int:
        """Keys that are worked on at the moment."""
        return len(self._working)

    def add(self, key: K) -> None:
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._enqueue(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add later; of several times asked for one key the earliest counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._elapsed, key)

    def add_rate_limited(self, key: K) -> None:
        """Add after this key's backoff, which doubles until `forget`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(self._base_backoff * 2.0 ** min(failures, 40), self._max_backoff))

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; say `done` when you are. Raises ShutDown."""
        while (key := self._next()) is None:
            if self._closed:
                raise ShutDown
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # the wake-up was ours; hand it on
                raise
        self._working.add(key)
        return key

    def _next(self) -> K | None:
        """Take the key that is due out of what waits."""
        if not self._waiting:
            return None
        key = self._waiting.popleft()
        self._dirty.discard(key)
        return key

    def done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._dirty:
            self._enqueue(key)

    def shut_down(self) -> None:
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        while self._getters:
            self._wake()

    def _elapsed(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _enqueue(self, key: K) -> None:
        self._waiting.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            waiter = self._getters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

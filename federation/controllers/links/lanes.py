"""
A queue of keys in two lanes: what a user changed comes before what a resync found.

A key waits in one lane at most; one that is added to the fast lane leaves the slow one.
"""

import asyncio
from collections.abc import Hashable
from typing import TypeVar

from cluster.client.workqueue import WorkQueue

K = TypeVar("K", bound=Hashable)


class Lanes(WorkQueue[K]):
    """`add` is the fast lane, `add_slow` the other."""

    def __init__(self, *, base_backoff: float, max_backoff: float) -> None:
        super().__init__(base_backoff=base_backoff, max_backoff=max_backoff)
        self._slow: dict[K, None] = {}
        """In the order in which they came."""
        self._shorter = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._slow)

    def add(self, key: K) -> None:
        self._slow.pop(key, None)
        super().add(key)

    def add_slow(self, key: K) -> None:
        if key in self._working:
            self.add(key)  # it has just had its turn and comes back in any case
        elif not self._closed and key not in self._dirty and key not in self._slow:
            self._slow[key] = None
            self._wake()

    def is_worked_on(self, key: K) -> bool:
        return key in self._working

    async def until_shorter(self, length: int) -> None:
        """Wait until fewer keys wait."""
        while len(self) >= length:
            self._shorter.clear()
            await self._shorter.wait()

    def _next(self) -> K | None:
        key = super()._next()
        if key is None and self._slow:
            key = next(iter(self._slow))
            del self._slow[key]
        if key is not None:
            self._shorter.set()
        return key

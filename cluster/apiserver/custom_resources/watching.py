"""
Watches of instances that a webhook converts: events wait for their conversion, and stay in order.

Everything else of a watch is as with other kinds; those never come here.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from cluster.apiserver.custom_resources.kind import CustomKind
from cluster.apiserver.selection import everything
from cluster.apiserver.watch import WatchStream
from cluster.machinery.status_errors import ApiError, Gone, InternalError
from cluster.store.encoding import Entry
from cluster.store.resource_cache import DELETED, Change

log = logging.getLogger(__name__)

_WAITING_LIMIT = 10_000
"""Changes that may wait for a slow webhook; a watcher further behind has to begin again."""
_AT_ONCE = 100


class ConvertingStream(WatchStream):
    def __init__(self, kind: Any, *rest: Any) -> None:
        super().__init__(kind, *rest)
        self._waiting: deque[Change] = deque()
        self._work: asyncio.Task[None] | None = None

    def deliver(self, change: Change) -> None:
        if self._pending is not None or (self._namespace and change.entry.namespace != self._namespace):
            super().deliver(change)
            return
        if change.revision <= self.from_revision or self.done.is_set():
            return
        self._waiting.append(change)
        if len(self._waiting) > _WAITING_LIMIT:
            self._fail(Gone(f"too old resource version: {self.from_revision} ({change.revision})"))
        elif self._work is None or self._work.done():
            self._work = asyncio.create_task(self._convert(), name="converted-watch")

    def bookmark(self, revision: int) -> None:
        # Events up to this revision may still wait; who resumed from it would miss them.
        if not self._waiting:
            super().bookmark(revision)

    async def write_state(self, entries: list[Entry]) -> None:
        try:
            shown = await self._shown(entries)
        except ApiError as fault:
            self._fail(fault)
            return
        await super().write_state([entry for entry in shown if self._matches(entry)])

    def write_initial_end(self, revision: int) -> None:
        if not self.done.is_set():
            super().write_initial_end(revision)

    async def leave(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

    async def _convert(self) -> None:
        while self._waiting and not self.done.is_set():
            changes = list(islice(self._waiting, _AT_ONCE))
            try:
                ready = await self._converted(changes)
            except ApiError as fault:
                self._fail(fault)
                return
            except Exception:
                log.exception("a watch of %s ends: its events cannot be converted", self._kind.place)
                self._fail(InternalError("Internal error occurred: the events cannot be converted"))
                return
            for change in ready:
                self._waiting.popleft()
                super().deliver(change)

    async def _converted(self, changes: list[Change]) -> list[Change]:
        """The changes with objects in the version that is watched."""
        wanted: list[Entry] = []
        for change in changes:
            if change.type != DELETED:
                wanted.append(change.entry)
            if change.old is not None and (change.type == DELETED or self._matches is not everything):
                wanted.append(change.old)
        shown = dict(zip(wanted, await self._shown(wanted), strict=True))
        ready = []
        for change in changes:
            old = shown.get(change.old) if change.old is not None else None
            if change.type == DELETED and old is not None:
                entry = old.at_revision(change.revision)
            else:
                entry = shown[change.entry]
            ready.append(Change(change.type, entry, old))
        return ready

    async def _shown(self, entries: Sequence[Entry]) -> list[Entry]:
        kind = self._kind
        if isinstance(kind, CustomKind) and kind.converter is not None:
            return await kind.converter.entries_in_turn(entries, kind.resource.api_version)
        return list(entries)

    def _fail(self, fault: ApiError) -> None:
        self.write_error(fault.status)
        self.end()

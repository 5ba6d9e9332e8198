"""Watches of a fake member: events as lines, in order, with bookmarks; a watch that cannot go on says 410."""

import asyncio
from collections import deque
from collections.abc import Callable

import orjson
from aiohttp import web

from cluster.api.resources import Resource
from cluster.machinery.status_errors import ApiError
from tests.fakes.member.peculiarities import Peculiarities
from tests.fakes.member.store import ADDED, DELETED, MODIFIED, Change, Store, Stored, place_of

BOOKMARK_SECONDS = 10.0
Matches = Callable[[Stored], bool]


class Watcher:
    """One watch. Changes come in at once; `serve` writes them."""

    def __init__(self, resource: Resource, namespace: str, matches: Matches, encode: Callable[[Stored], bytes]) -> None:
        self.resource = resource
        self._place = place_of(resource)
        self._namespace = namespace
        self._matches = matches
        self._encode = encode
        self._lines: deque[tuple[float, bytes]] = deque()
        self._wake = asyncio.Event()
        self._ended = False

    def tell(self, change: Change) -> None:
        if change.place != self._place or (self._namespace and change.stored.key.namespace != self._namespace):
            return
        now = change.type != DELETED and self._matches(change.stored)
        before = change.old is not None and self._matches(change.old)
        if not now and not before:
            return
        kind = (MODIFIED if before else ADDED) if now else DELETED
        self.line(kind, self._encode(change.stored))

    def line(self, kind: str, body: bytes) -> None:
        self._lines.append((asyncio.get_running_loop().time(), b'{"type":"%s","object":%s}\n' % (kind.encode(), body)))
        self._wake.set()

    def bookmark(self, version: int, *, initial: bool = False) -> None:
        metadata: dict[str, object] = {"resourceVersion": str(version)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata}
        self.line("BOOKMARK", orjson.dumps(obj))

    def fail(self, fault: ApiError) -> None:
        """A last line that says why."""
        self.line("ERROR", orjson.dumps(fault.status))
        self.end()

    def end(self) -> None:
        """After what is still to be written."""
        self._ended = True
        self._wake.set()

    async def serve(
        self, response: web.StreamResponse, seconds: float, store: Store, behaves: Peculiarities, resumed: asyncio.Event
    ) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        bookmark = loop.time() + BOOKMARK_SECONDS
        while True:
            while self._lines:
                if behaves.hangs:
                    await resumed.wait()
                came, line = self._lines[0]
                wait = came + behaves.watch_delay + behaves.latency - loop.time()
                if wait > 0:
                    await asyncio.sleep(wait)
                if not behaves.watch_delay and not behaves.latency:
                    line = b"".join(one for _, one in self._lines)
                    self._lines.clear()
                else:
                    self._lines.popleft()
                await response.write(line)
            if self._ended or loop.time() >= until:
                return
            if behaves.bookmarks and loop.time() >= bookmark:
                bookmark = loop.time() + BOOKMARK_SECONDS
                self.bookmark(store.version)
                continue
            self._wake.clear()
            try:
                async with asyncio.timeout_at(min(until, bookmark)):
                    await self._wake.wait()
            except TimeoutError:
                continue

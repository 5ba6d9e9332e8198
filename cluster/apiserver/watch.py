"""
WATCH: changes written as ready-made chunks straight to the connection.

An event is encoded once for all who watch it in the same form. A task and a queue for each watcher would cost more
than the writing itself, so `deliver` runs inside the cache's update and only puts bytes into the socket's buffer;
who does not read is dropped when the buffer has grown past a limit, and comes back with a new watch.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import orjson
from aiohttp import web

from cluster.apiserver import views
from cluster.apiserver.list_options import NOT_OLDER_THAN, ListOptions
from cluster.apiserver.lists import Lister
from cluster.apiserver.negotiation import OBJECT, TABLE, View
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.selection import Matches, everything
from cluster.apiserver.watch_turns import Turns
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Gone
from cluster.store.encoding import Entry
from cluster.store.resource_cache import ADDED, DELETED, MODIFIED, Change, TooOldError
from cluster.store.watch_cache import WatchCache

BUFFER_LIMIT = 4 << 20
"""Bytes that may lie unsent for one watcher."""
MIN_SECONDS, MAX_SECONDS = 1800, 3600
"""A watch ends by itself somewhere in between, so that watchers spread over servers again."""
_BATCH = 200


class Outlet(Protocol):
    """Where events go: the connection itself, or what puts them into another form for it."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool: ...

    def get_write_buffer_size(self) -> int: ...

    def abort(self) -> None: ...


def frame(kind: bytes, obj: bytes) -> bytes:
    """One event as one HTTP chunk."""
    line = b'{"type":"%s","object":%s}\n' % (kind, obj)
    return b"%x\r\n%s\r\n" % (len(line), line)


class WatchStream:
    """One watcher. Everything but `serve` is called from the cache, in order, without waiting."""

    def __init__(
        self, kind: Kind, namespace: str, matches: Matches, view: View, include: str, transport: Outlet
    ) -> None:
        self._kind = kind
        self._namespace = namespace
        self._matches = matches
        self._view = view
        self._include = include
        self._transport = transport
        self._form = None if view.shape == OBJECT else (view, include)
        self._headers_sent = False
        self._pending: list[Change] | None = []
        """Changes that came while the first state is still being written."""
        self.from_revision = 0
        self.done = asyncio.Event()
        self.turns: Turns | None = None
        """Where events are gathered; without, each is written at once."""
        self.out: list[bytes] = []
        """Events of this turn that are not written yet."""

    def deliver(self, change: Change) -> None:
        entry = change.entry
        if self._namespace and entry.namespace != self._namespace:
            return
        if self._pending is not None:
            self._pending.append(change)
            return
        if change.revision <= self.from_revision:
            return
        kind = change.type
        if self._matches is not everything:
            now = kind != DELETED and self._matches(entry)
            before = change.old is not None and self._matches(change.old)
            if now:
                kind = MODIFIED if before else ADDED
            elif before:
                kind = DELETED
            else:
                return
        chunk = self._encode(change, kind, entry)
        if self.turns is None:
            self.write(chunk)
            return
        self.out.append(chunk)
        if len(self.out) == 1:
            self.turns.add(self)

    def _encode(self, change: Change, kind: str, entry: Entry) -> bytes:
        """The event's chunk, from the change's own store of chunks when another watcher had it made."""
        key = (kind, self._kind.resource.api_version, self._form)
        if self._view.shape == TABLE and not self._headers_sent:
            self._headers_sent = True
            return frame(kind.encode(), views.one(self._kind, entry, self._view, self._include))
        found = change.frames.get(key)
        if found is None:
            shown = entry
            if kind == DELETED and change.type != DELETED and change.old is not None:
                # It no longer matches: the watcher gets the last state that did, at this revision.
                shown = change.old.at_revision(change.revision)
            found = frame(kind.encode(), views.one(self._kind, shown, self._view, self._include, headers=False))
            change.frames[key] = found
            if self.turns is not None:
                self.turns.encoded(change)
        return found

    def _write(self, chunk: bytes) -> None:
        """After all that is gathered."""
        if self.out:
            chunk = b"".join((*self.out, chunk))
            self.out = []
        self.write(chunk)

    def write_gathered(self) -> None:
        if self.out:
            self._write(b"")

    def write(self, chunk: bytes) -> None:
        """For `Turns`."""
        transport = self._transport
        if transport.is_closing():
            self.done.set()
            return
        transport.write(chunk)
        if transport.get_write_buffer_size() > BUFFER_LIMIT:
            transport.abort()
            self.done.set()

    def bookmark(self, revision: int) -> None:
        if self._pending is None:
            self._write(frame(b"BOOKMARK", views.bookmark(self._kind, revision, self._view)))

    def end(self) -> None:
        self.done.set()

    async def leave(self) -> None:
        """The watch is over: end what was begun for it."""

    async def write_state(self, entries: list[Entry]) -> None:
        """All that exists, as ADDED, in portions that the client takes before the next is made."""
        for at in range(0, len(entries), _BATCH):
            chunks = []
            for entry in entries[at : at + _BATCH]:
                headers = not self._headers_sent
                self._headers_sent = True
                chunks.append(frame(b"ADDED", views.one(self._kind, entry, self._view, self._include, headers=headers)))
            while self._transport.get_write_buffer_size() > BUFFER_LIMIT // 4 and not self._transport.is_closing():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            self._write(b"".join(chunks))

    def write_initial_end(self, revision: int) -> None:
        self._write(frame(b"BOOKMARK", views.bookmark(self._kind, revision, self._view, initial_end=True)))

    def write_error(self, status: Object) -> None:
        self._write(frame(b"ERROR", orjson.dumps(status)))

    def prepend(self, missed: list[Change]) -> None:
        """Changes from before the subscription, to be delivered first."""
        self._pending = missed + (self._pending or [])

    def go_live(self) -> None:
        pending, self._pending = self._pending or [], None
        for change in pending:
            self.deliver(change)


class Watcher:
    """Serves watches from the cache."""

    def __init__(self, cache: WatchCache, lister: Lister) -> None:
        self._cache = cache
        self._lister = lister
        self._streams: set[WatchStream] = set()
        self.converting: Callable[..., WatchStream] = WatchStream
        """What serves kinds that say `converts`."""
        self._ending = False
        self._turns = Turns()

    @property
    def watching(self) -> int:
        """How many watches there are."""
        return len(self._streams)

    def end_all(self) -> None:
        """Let every watch end cleanly, and those that are just beginning; clients go on at another server."""
        self._ending = True
        for stream in tuple(self._streams):
            stream.end()

    async def serve(
        self,
        request: web.BaseRequest,
        kind: Kind,
        namespace: str,
        options: ListOptions,
        matches: Matches,
        view: View,
        include: str = "",
    ) -> web.StreamResponse:
        """Write events until the deadline, the client or the server ends it."""
        state = options.send_initial_events is True or (
            options.send_initial_events is None and options.resource_version in ("", "0")
        )
        if options.resource_version == "" or options.match == NOT_OLDER_THAN:
            await self._lister.fresh(options.resource_version)
        if state:
            kind.cache.check_readable(namespace)
        response, transport = await _opened(request)
        form: Callable[..., WatchStream] = self.converting if kind.converts else WatchStream
        stream = form(kind, namespace, matches, view, include, transport)
        stream.turns = self._turns
        stops: list[Callable[[], None]] = []
        self._streams.add(stream)
        reading = _reading(response, stream.done)
        try:
            async with asyncio.timeout(options.timeout_seconds or random.uniform(MIN_SECONDS, MAX_SECONDS)):  # noqa: S311
                stops.append(kind.cache.subscribe(stream.deliver, stream.end))
                await self._begin(stream, kind, namespace, options, matches, state=state)
                if options.allow_bookmarks:
                    stops.append(self._cache.subscribe_bookmarks(stream.bookmark))
                if not self._ending:
                    await stream.done.wait()
        except TimeoutError:
            long_enough = (options.timeout_seconds or MAX_SECONDS) > 10
            if options.allow_bookmarks and long_enough and not transport.is_closing():
                stream.bookmark(self._cache.revision)
        finally:
            self._streams.discard(stream)
            if reading is not None:
                reading.cancel()
            await stream.leave()
            for stop in stops:
                stop()
        stream.write_gathered()
        if not transport.is_closing():
            await response.write_eof()
        return response

    async def _begin(
        self, stream: WatchStream, kind: Kind, namespace: str, options: ListOptions, matches: Matches, *, state: bool
    ) -> None:
        """What comes before live changes. Between snapshot and subscription nothing is awaited."""
        if state:
            revision = self._cache.revision
            found = kind.cache.entries(namespace)
            entries = list(found if matches is everything or kind.converts else filter(matches, found))
            stream.from_revision = revision
            await stream.write_state(entries)
            if options.send_initial_events and options.allow_bookmarks:
                stream.write_initial_end(revision)
        elif options.resource_version not in ("", "0"):
            stream.from_revision = options.revision
            try:
                missed = kind.cache.changes_since(options.revision)
            except TooOldError as fault:
                stream.write_error(Gone(str(fault)).status)
                stream.end()
                return
            stream.prepend(missed)
        stream.go_live()


async def _opened(request: web.BaseRequest) -> tuple[web.StreamResponse, Outlet]:
    """The answer's head is sent. Raises ConnectionResetError, and Forbidden for a foreign page."""
    if "Upgrade" in request.headers:
        from cluster.apiserver import watch_websocket  # few clients want one

        if watch_websocket.wanted(request):
            socket = await watch_websocket.opened(request)
            return socket, watch_websocket.Frames(_transport(request))
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    writer = await response.prepare(request)
    transport = _transport(request)
    if writer is None:
        raise ConnectionResetError("the client went away before its watch began")
    writer.send_headers()
    return response, transport


def _transport(request: web.BaseRequest) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("the client went away before its watch began")
    return request.transport


def _reading(response: web.StreamResponse, gone: asyncio.Event) -> asyncio.Task[None] | None:
    """A WebSocket's client says by a frame that it leaves; others close their connection."""
    if not isinstance(response, web.WebSocketResponse):
        return None
    from cluster.apiserver import watch_websocket

    return asyncio.create_task(watch_websocket.read(response, gone), name="websocket of a watch")

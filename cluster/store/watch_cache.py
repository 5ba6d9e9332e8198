"""
Everything in the store, in memory, fed by one watch over the whole prefix.

One watch for all kinds makes the cache's revision exact: whatever was written up to it has been seen, for every
kind. A consistent read is then a question for the current revision, which all readers of the moment share, and
an answer from memory once the cache has got there.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable

from cluster.store.backend import Backend, Event, StoreError, WatchControl, range_end
from cluster.store.encoding import Entry
from cluster.store.encryption import Sealing, UnreadableError, plain_entry
from cluster.store.generated import etcd_pb2 as pb
from cluster.store.keys import PREFIX
from cluster.store.own_writes import OwnWrites
from cluster.store.resource_cache import Hidden, ResourceCache

log = logging.getLogger(__name__)

LOAD_PAGE = 2000
WAIT_TIMEOUT = 3.0
"""Seconds a read waits for a revision that the cache has not seen yet."""
_PROGRESS_AFTER = 0.05
_SILENCE = 1.0
"""Seconds that a watch may leave progress requests without an answer before another member is tried."""
_MAX_PAUSE = 2.0
_BOOKMARK_SECONDS = 60.0


Told = Callable[[bool], None]


class TooNewError(Exception):
    """The asked revision did not appear in time."""

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"Too large resource version: {asked}, current: {current}")


class WatchCache:
    """`run` in a task; `wait_ready` before the first read."""

    def __init__(self, client: Backend, prefix: str = PREFIX, sealing: Sealing | None = None) -> None:
        """`sealing` opens what is encrypted at rest; None when nothing is."""
        self._client = client
        self._sealing = sealing
        if sealing is not None:
            sealing.on_change(self._retry_unreadable)
        self._prefix = prefix.encode()
        self._caches: dict[str, ResourceCache] = {}
        self._unclaimed: dict[str, tuple[bytes, int]] = {}
        self.own_writes = OwnWrites()
        """What an object store may say of what it writes, to save the cache from reading it again."""
        self.revision = 0
        """Every change up to this one has been applied."""
        self._cluster_id = 0
        self._lively = False
        """Whether the present watch has answered."""
        self._ready = asyncio.Event()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._asked: asyncio.Future[int] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._listeners: list[Told] = []
        """Who asked to be told by the next read of the store's revision."""
        self._control: WatchControl | None = None
        self._heard = 0.0
        """When the watch last said anything (loop time)."""
        self._applied_revision = 0
        self._applied_keys: set[bytes] = set()
        """Which keys of that revision have been applied: a watch may break in the middle of one."""
        self._progress_task: asyncio.Task[None] | None = None
        self._gone: list[tuple[str, Callable[[], None]]] = []
        self._bookmarks: dict[int, Callable[[int], None]] = {}

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    def register(self, place: str) -> ResourceCache:
        """The cache of one place; kinds may be added while running (custom resources)."""
        found = self._caches.get(place)
        if found is None:
            found = self._caches[place] = ResourceCache(place)
            entries: dict[str, Entry] = {}
            hidden: dict[str, Hidden] = {}
            for path in [k for k in self._unclaimed if k.startswith(place + "/")]:
                self._sort_in(place, path[len(place) + 1 :], *self._unclaimed.pop(path), entries, hidden)
            self._fill(found, entries, self.revision, hidden)
        return found

    # Reading.

    async def catch_up(self) -> int:
        """Wait until the cache holds all that was written before this call. Returns the revision reached."""
        revision = await self.read_revision()
        await self.wait_for(revision)
        return revision

    async def read_revision(self) -> int:
        """The store's revision now: one quorum read for all who ask at the same time."""
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_future()
            self._begin_asking()
        return await asyncio.shield(self._asked)

    def when_current(self, told: Told) -> None:
        """
        As `catch_up`, without a task for each who waits: `told(True)` is called once the cache holds all that was
        written before this call, `told(False)` when the store does not say so in time.
        """
        self._listeners.append(told)
        self._begin_asking()

    def _begin_asking(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="revision-reads")

    async def _ask(self) -> None:
        """Answer all who asked before each read began with that one read."""
        while self._asked is not None or self._listeners:
            waiting, self._asked = self._asked, None
            listeners, self._listeners = self._listeners, []
            try:
                revision = await self._client.current_revision()
            except StoreError as fault:
                if waiting is not None:
                    waiting.set_exception(fault)
                    waiting.exception()
                for told in listeners:
                    told(False)
            else:
                if waiting is not None:
                    waiting.set_result(revision)
                if listeners:
                    self._tell_at(revision, listeners)

    def _tell_at(self, revision: int, listeners: list[Told]) -> None:
        """Tell them when the cache is at `revision`."""
        if revision <= self.revision:
            for told in listeners:
                told(True)
            return
        future = self._when_at(revision)
        expiry = asyncio.get_running_loop().call_later(WAIT_TIMEOUT, future.cancel)

        def tell(done: asyncio.Future[None]) -> None:
            expiry.cancel()
            for told in listeners:
                told(not done.cancelled())

        future.add_done_callback(tell)

    async def wait_for(self, revision: int, seconds: float = WAIT_TIMEOUT) -> None:
        """Return once the cache is at `revision` or later. Raises TooNewError."""
        if revision <= self.revision:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._when_at(revision)
        except TimeoutError:
            raise TooNewError(revision, self.revision) from None

    def _when_at(self, revision: int) -> asyncio.Future[None]:
        """Done when the cache is at `revision`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (revision, next(self._order), future))
        if self._progress_task is None or self._progress_task.done():
            self._progress_task = asyncio.create_task(self._press(), name="watch-progress")
        return future

    async def _press(self) -> None:
        """While somebody waits, ask etcd how far its watch is: keys outside our prefix move the revision silently."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self._waiting:
            await asyncio.sleep(_PROGRESS_AFTER)
            self._waiting = [w for w in self._waiting if not w[2].done()]
            heapq.heapify(self._waiting)
            control = self._control
            if not self._waiting or control is None:
                continue
            if loop.time() - max(began, self._heard) > _SILENCE:
                control.abandon()
                began = loop.time()
                continue
            try:
                await control.ask_progress()
            except Exception as fault:
                log.debug("no progress request on a broken watch: %s", fault)

    def subscribe_bookmarks(self, deliver: Callable[[int], None]) -> Callable[[], None]:
        """`deliver` gets the cache's revision about once a minute. Call the result to stop."""
        key = next(self._order)
        self._bookmarks[key] = deliver

        def stop() -> None:
            self._bookmarks.pop(key, None)

        return stop

    def on_gone(self, place: str, tell: Callable[[], None]) -> None:
        """`tell` is called when a key of a place that holds no objects is deleted or its lease ended."""
        self._gone.append((place + "/", tell))

    # Feeding.

    async def run(self) -> None:
        """Load, then follow the store, for ever: broken watches go on where they stopped, compacted ones load anew."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_bookmarks())
            failures = 0
            while True:
                self._lively = False
                try:
                    if self.revision == 0:
                        await self._load()
                    await self._follow()
                except StoreError as fault:
                    failures = 0 if self._lively else failures + 1
                    if fault.compacted:
                        log.warning("the watch fell behind compaction, loading everything again")
                        self.revision = 0
                        continue
                    pause = self._pause(failures)
                    log.warning("the watch broke, trying again in %.1f s: %s", pause, fault)
                    await asyncio.sleep(pause)

    def _pause(self, failures: int) -> float:
        """Seconds before the next try: none while there are members that have not been asked."""
        rounds = failures // self._client.endpoints
        return min(0.1 * 2.0 ** (rounds - 1), _MAX_PAUSE) if rounds else 0.0

    async def _load(self) -> None:
        end = range_end(self._prefix)
        key, revision = self._prefix, 0
        values: dict[str, tuple[bytes, int]] = {}
        while True:
            page = await self._client.range(key, end, limit=LOAD_PAGE, revision=revision)
            revision = revision or page.header.revision
            self._cluster_id = page.header.cluster_id
            for kv in page.kvs:
                values[kv.key.decode()[len(self._prefix) :]] = (kv.value, kv.mod_revision)
            if not page.more:
                break
            key = page.kvs[-1].key + b"\0"
        self.own_writes.clear()
        sorted_in: dict[str, tuple[dict[str, Entry], dict[str, Hidden]]] = {place: ({}, {}) for place in self._caches}
        self._unclaimed = {}
        for path, (value, mod_revision) in values.items():
            cache, rest = self._locate(path)
            if cache is None:
                self._unclaimed[path] = (value, mod_revision)
            else:
                self._sort_in(cache.place, rest, value, mod_revision, *sorted_in[cache.place])
        for place, (entries, hidden) in sorted_in.items():
            self._fill(self._caches[place], entries, revision, hidden)
        self._applied_revision = revision
        self._applied_keys.clear()
        self._advance(revision)
        self._ready.set()

    async def _follow(self) -> None:
        stream = self._client.watch(self._prefix, range_end(self._prefix), self.revision + 1, self._opened)
        newest = self.revision
        loop = asyncio.get_running_loop()
        try:
            async for response in stream:
                self._heard = loop.time()
                self._lively = True
                if self._cluster_id and response.header.cluster_id != self._cluster_id:
                    log.error("etcd has another cluster id than before: it was restored; loading everything again")
                    self.revision = 0
                    return
                for event in response.events:
                    newest = event.kv.mod_revision
                    if self._is_new(newest, event.kv.key):
                        self._apply(event)
                if not response.events and not response.created:
                    newest = max(newest, response.header.revision)
                if not response.fragment and newest > self.revision:
                    self._advance(newest)
        finally:
            self._control = None
            await stream.aclose()  # type: ignore[attr-defined]

    def _opened(self, control: WatchControl) -> None:
        self._control = control

    def _is_new(self, revision: int, key: bytes) -> bool:
        """False for what a watch tells again after it broke in the middle of a revision or of a long answer."""
        if revision <= self.revision or revision < self._applied_revision:
            return False
        if revision > self._applied_revision:
            self._applied_revision = revision
            self._applied_keys.clear()
        if key in self._applied_keys:
            return False
        self._applied_keys.add(key)
        return True

    def _apply(self, event: Event) -> None:
        path = event.kv.key.decode()[len(self._prefix) :]
        revision = event.kv.mod_revision
        cache, rest = self._locate(path)
        deleted = event.type == pb.Event.DELETE
        if cache is None:
            if deleted:
                self._unclaimed.pop(path, None)
                for prefix, tell in self._gone:
                    if path.startswith(prefix):
                        tell()
            else:
                self._unclaimed[path] = (event.kv.value, revision)
            return
        if deleted:
            cache.remove(rest, revision)
            return
        entry = self.own_writes.seen(event.kv.key, event.kv.value, revision)
        if entry is not None:
            cache.put(rest, entry)
            return
        try:
            entry = self._entry(cache.place, event.kv.key, event.kv.value, revision)
        except UnreadableError as fault:
            # One unreadable value must not stop everybody's view of the rest.
            log.error("%s", fault)
            cache.hide(rest, Hidden(event.kv.value, revision, fault))
            return
        cache.put(rest, entry)

    def _entry(self, place: str, key: bytes, value: bytes, revision: int) -> Entry:
        if self._sealing is None:
            return plain_entry(key, value, revision)
        return self._sealing.entry(place, key, value, revision)

    def _sort_in(
        self, place: str, rest: str, value: bytes, revision: int,
        entries: dict[str, Entry], hidden: dict[str, Hidden],
    ) -> None:  # fmt: skip
        try:
            entries[rest] = self._entry(place, self._prefix + f"{place}/{rest}".encode(), value, revision)
        except UnreadableError as fault:
            hidden[rest] = Hidden(value, revision, fault)

    @staticmethod
    def _fill(cache: ResourceCache, entries: dict[str, Entry], revision: int, hidden: dict[str, Hidden]) -> None:
        cache.load(entries, revision, hidden)
        if hidden:
            example = next(iter(hidden.values())).fault
            log.error("%d objects of %s cannot be read, for example: %s", len(hidden), cache.place, example)

    def _retry_unreadable(self) -> None:
        """There are other keys now."""
        for cache in self._caches.values():
            readable: dict[str, Entry] = {}
            for rest, (value, revision, _) in cache.unreadable.items():
                self._sort_in(cache.place, rest, value, revision, readable, {})
            if readable:
                log.info("%d objects of %s can be read again", len(readable), cache.place)
                cache.reveal(readable, self.revision)

    def _locate(self, path: str) -> tuple[ResourceCache | None, str]:
        first, _, rest = path.partition("/")
        cache = self._caches.get(first)
        if cache is not None:
            return cache, rest
        second, _, rest = rest.partition("/")
        return self._caches.get(f"{first}/{second}"), rest

    def _advance(self, revision: int) -> None:
        self.revision = revision
        waiting = self._waiting
        while waiting and waiting[0][0] <= revision:
            future = heapq.heappop(waiting)[2]
            if not future.done():
                future.set_result(None)

    async def _send_bookmarks(self) -> None:
        while True:
            await asyncio.sleep(_BOOKMARK_SECONDS)
            for deliver in tuple(self._bookmarks.values()):
                deliver(self.revision)

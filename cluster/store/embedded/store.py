"""
A store in this process, in one SQLite file or in memory: what `backend.Backend` asks for, without a network.

For a control plane of a single process, and for tests. Reads, writes and watches mean what they mean with etcd; what
is acknowledged is on the disk. One process at a time can have a file open.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from cluster.store.backend import StoreError, WatchControl
from cluster.store.embedded.address import Address
from cluster.store.embedded.database import Database
from cluster.store.embedded.file import Reserve, open_file
from cluster.store.embedded.writer import Done, Work, Writer
from cluster.store.generated import etcd_pb2 as pb

REQUEST_TIMEOUT = 10.0
"""Seconds that the disk may take for one request."""
_HISTORY_REVISIONS = 200
"""How many revisions a watch that is behind reads at once."""
_MAX_BACKLOG = 10_000
"""Events kept for a watch that does not fetch them; after that it reads them from the database again."""


class EmbeddedStore:
    """Opens the file at once: raises StoreFileError. Call from one event loop; `close` when done."""

    def __init__(self, address: Address) -> None:
        connection = open_file(address)
        self._database = Database(connection, address.quota)
        self._writer = Writer(self._database, Reserve(address.path), self._deliver)
        self._revision = self._database.revision
        """As far as the event loop has been told."""
        self._cluster_id = self._database.cluster_id
        self._watches: set[_Watch] = set()
        self._started = False
        self._closing = False

    async def close(self) -> None:
        self._closing = True
        for watch in self._watches:
            watch.end("the store was closed")
        await self._writer.close()

    async def use_new_certificate(self) -> None:
        """There is nobody to show one to."""

    def use_endpoints(self, endpoints: Sequence[str]) -> None:
        raise ValueError("an embedded store is alone, it has no members that come and go")

    @property
    def endpoints(self) -> int:
        return 1

    async def range(
        self,
        key: bytes,
        end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
    ) -> Any:
        request = pb.RangeRequest(
            key=key, range_end=end, limit=limit, revision=revision, keys_only=keys_only, count_only=count_only
        )
        return await self._call(lambda database: database.range(request))

    async def txn(self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any] = ()) -> Any:
        request = pb.TxnRequest(compare=compare, success=success, failure=failure)
        return await self._call(lambda database: database.txn(request))

    async def commit(self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any]) -> tuple[Any, bool]:
        """Never repeated: there is one database, and it says what became of a write."""
        return await self.txn(compare, success, failure), False

    async def delete(self, key: bytes, end: bytes = b"") -> Any:
        request = pb.DeleteRangeRequest(key=key, range_end=end)
        return await self._call(lambda database: database.delete(request))

    async def compact(self, revision: int) -> None:
        await self._call(lambda database: database.compact(revision))

    async def grant_lease(self, seconds: int) -> int:
        return int(await self._call(lambda database: database.grant(seconds)))

    async def status(self) -> Any:
        return await self._call(lambda database: database.status())

    async def current_revision(self) -> int:
        """Known without asking: whoever was acknowledged is in it."""
        if self._closing:
            raise StoreError("the store is closed")
        return self._revision

    async def watch(
        self, key: bytes, end: bytes, start_revision: int, on_open: Callable[[WatchControl], None]
    ) -> AsyncIterator[Any]:
        watch = _Watch(key, end, start_revision or self._revision + 1)

        async def ask_progress() -> None:
            watch.asked = True
            watch.wake.set()

        self._watches.add(watch)
        try:
            on_open(WatchControl(ask_progress, lambda: watch.end("the watch was given up")))
            yield pb.WatchResponse(header=self._header(), created=True)
            while True:
                if watch.fault:
                    raise StoreError(watch.fault)
                events = watch.take() if watch.live else await self._missed(watch)
                if events:
                    yield pb.WatchResponse(header=self._header(), events=events)
                elif watch.live and watch.asked:
                    watch.asked = False
                    yield pb.WatchResponse(header=self._header())
                elif watch.live:
                    watch.wake.clear()
                    await watch.wake.wait()
        finally:
            self._watches.discard(watch)

    async def _missed(self, watch: "_Watch") -> list[Any]:
        """The next events of a watch that is behind; lets it follow when these were the last."""
        if watch.next > self._revision:
            watch.live = True
            return []
        request = pb.RangeRequest(key=watch.key, range_end=watch.end_key, revision=watch.next)
        events, last = await self._call(lambda database: database.changes(request, _HISTORY_REVISIONS))
        watch.next = last + 1
        # What is committed and not yet told here is told twice, and `offer` knows.
        watch.live = last >= self._revision
        return list(events)

    async def _call(self, work: Work) -> Any:
        if self._closing:
            raise StoreError("the store is closed")
        if not self._started:
            self._started = True
            self._writer.start(asyncio.get_running_loop())
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await self._writer.submit(work)
        except TimeoutError:
            raise StoreError(f"the disk did not answer within {REQUEST_TIMEOUT:.0f} s", ambiguous=True) from None

    def _deliver(self, done: Done) -> None:
        self._revision = done.revision
        if done.events:
            for watch in self._watches:
                watch.offer(done.events, done.revision)

    def _header(self) -> Any:
        return pb.ResponseHeader(cluster_id=self._cluster_id, member_id=1, revision=self._revision)


class _Watch:
    """One open watch: its range, and what it has not fetched yet."""

    def __init__(self, key: bytes, end: bytes, start: int) -> None:
        self.key = key
        self.end_key = end
        self.next = start
        """Changes before this revision have been told, or lie in the backlog."""
        self.live = False
        """Whether changes are offered as they happen; otherwise they are read from the database."""
        self.asked = False
        self.fault = ""
        self.wake = asyncio.Event()
        self._backlog: list[Any] = []

    def offer(self, events: Sequence[Any], revision: int) -> None:
        if not self.live or revision < self.next:
            return
        wanted = [event for event in events if event.kv.mod_revision >= self.next and self._covers(event.kv.key)]
        self.next = revision + 1
        if len(self._backlog) + len(wanted) > _MAX_BACKLOG:
            self.next = self._backlog[0].kv.mod_revision if self._backlog else wanted[0].kv.mod_revision
            self._backlog = []
            self.live = False
        else:
            self._backlog.extend(wanted)
        if wanted:
            self.wake.set()

    def take(self) -> list[Any]:
        events, self._backlog = self._backlog, []
        return events

    def end(self, reason: str) -> None:
        self.fault = reason
        self.wake.set()

    def _covers(self, key: bytes) -> bool:
        if not self.end_key:
            return key == self.key
        return key >= self.key and (self.end_key == b"\0" or key < self.end_key)

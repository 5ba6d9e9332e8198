"""
Objects in etcd: each write is one transaction on one key, conditioned on the revision that was read.

Called by the registry. Keys and bytes are `keys` and `encoding`; reads that may come from memory go to
`watch_cache` instead.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from cluster.store import backend
from cluster.store.backend import Backend, StoreError
from cluster.store.encoding import Entry, encode_stored
from cluster.store.encryption import Sealing, plain_entry
from cluster.store.keys import collection_prefix, object_key
from cluster.store.own_writes import OwnWrite, OwnWrites


class KeyExistsError(Exception):
    """A create found the key taken."""


class KeyMissingError(Exception):
    """The object is not, or no longer, there."""


class RevisionConflictError(Exception):
    """The object was changed since it was read; `current` is what it is now."""

    def __init__(self, key: str, current: Entry | None, *, stale: bool = False) -> None:
        super().__init__(f"{key} was changed by somebody else")
        self.current = current
        self.stale = stale
        """Whether `current` is stored sealed in a way that is no longer the present one."""


class CompactedError(Exception):
    """The revision that was asked for is compacted away."""


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a collection as of one revision."""

    entries: list[Entry]
    revision: int
    remaining: int
    """How many more objects lie behind the last one."""


Change = Callable[[Entry], Awaitable[Object]]


class SharedLeases:
    """Leases for objects that expire. Objects written within a minute share one: a lease costs as much as they."""

    REUSE_SECONDS = 60
    MAX_OBJECTS = 1000

    def __init__(self, client: Backend) -> None:
        self._client = client
        self._lease, self._until, self._used, self._ttl = 0, 0.0, 0, 0
        self._lock = asyncio.Lock()

    async def lease(self, ttl: int) -> int:
        async with self._lock:
            now = time.monotonic()
            if self._lease == 0 or now > self._until or self._used >= self.MAX_OBJECTS or ttl != self._ttl:
                self._lease = await self._client.grant_lease(ttl + self.REUSE_SECONDS)
                self._until, self._used, self._ttl = now + self.REUSE_SECONDS, 0, ttl
            self._used += 1
            return self._lease


class ObjectStore:
    def __init__(self, client: Backend, sealing: Sealing | None = None, own_writes: OwnWrites | None = None) -> None:
        """
        Args:
            sealing: What is encrypted at rest; None leaves all values as they are.
            own_writes: Those of the cache that shows what is written here; None when there is no cache.
        """
        self._client = client
        self._sealing = sealing
        self._own_writes = own_writes
        self._leases = SharedLeases(client)

    async def get(self, place: str, namespace: str, name: str) -> Entry | None:
        """A quorum read. Raises UnreadableError for a value that no key opens."""
        return (await self._read(place, namespace, name))[0]

    async def _read(self, place: str, namespace: str, name: str) -> tuple[Entry | None, bool]:
        """The object, and whether it is sealed in a way that is no longer the present one."""
        answer = await self._client.range(object_key(place, namespace, name).encode())
        kvs = answer.kvs
        return self._opened(place, kvs[0]) if kvs else (None, False)

    def _opened(self, place: str, kv: Any) -> tuple[Entry, bool]:
        if self._sealing is None:
            return plain_entry(kv.key, kv.value, kv.mod_revision), False
        opened = self._sealing.open(place, kv.key, kv.value)
        return Entry(opened.plain, kv.mod_revision), opened.stale

    def _conflict(self, place: str, key: bytes, answer: Any) -> RevisionConflictError:
        current, stale = self._opened(place, answer.kvs[0]) if answer.kvs else (None, False)
        return RevisionConflictError(key.decode(), current, stale=stale)

    async def create(self, place: str, namespace: str, name: str, obj: Object, ttl: int = 0) -> Entry:
        """Raises KeyExistsError. `ttl` in seconds lets it expire."""
        key = object_key(place, namespace, name).encode()
        stored = await self._put(place, key, obj, 0, ttl)
        if isinstance(stored, Entry):
            return stored
        raise KeyExistsError(key.decode())

    async def replace(self, place: str, namespace: str, name: str, obj: Object, revision: int, ttl: int = 0) -> Entry:
        """Write over the state of `revision`. Raises RevisionConflictError."""
        key = object_key(place, namespace, name).encode()
        stored = await self._put(place, key, obj, revision, ttl)
        if isinstance(stored, Entry):
            return stored
        raise self._conflict(place, key, stored)

    async def _put(self, place: str, key: bytes, obj: Object, revision: int, ttl: int) -> Entry | Any:
        """The entry as written, or etcd's answer about what is there instead."""
        value = encode_stored(obj)
        lease = await self._leases.lease(ttl) if ttl else 0
        sealed = value if self._sealing is None else self._sealing.seal(place, key, value)
        if self._own_writes is None:
            write = OwnWrite(obj, value, sealed)
            return await self._commit(key, write, revision, lease)
        write = self._own_writes.begin(key, obj, value, sealed)
        written: Entry | Any = None
        try:
            written = await self._commit(key, write, revision, lease)
        finally:
            if not isinstance(written, Entry):
                self._own_writes.forget(key, write)
        if isinstance(written, Entry):
            self._own_writes.answered(key, write)
        return written

    async def _commit(self, key: bytes, write: OwnWrite, revision: int, lease: int) -> Entry | Any:
        answer, repeated = await self._client.commit(
            [backend.compare_mod(key, revision)], [backend.put(key, write.stored, lease)], [backend.get(key)]
        )
        if answer.succeeded:
            return write.at(answer.header.revision)
        found = answer.responses[0].response_range
        # The very bytes, after a try whose answer was lost: that try did it. Without such a try somebody else wrote
        # the same, and who counts (a quota's use, say) must count again.
        if repeated and found.kvs and found.kvs[0].value == write.stored:
            return write.at(found.kvs[0].mod_revision)
        return found

    async def remove(self, place: str, namespace: str, name: str, revision: int) -> int:
        """Delete the state of `revision`. Returns the revision of the delete. Raises RevisionConflictError."""
        key = object_key(place, namespace, name).encode()
        answer, repeated = await self._client.commit(
            [backend.compare_mod(key, revision)], [backend.delete(key)], [backend.get(key)]
        )
        if not answer.succeeded:
            found = answer.responses[0].response_range
            gone = not found.kvs or found.kvs[0].create_revision > revision
            if not (repeated and gone):
                raise self._conflict(place, key, found)
        return int(answer.header.revision)

    async def update(
        self,
        place: str,
        namespace: str,
        name: str,
        change: Change,
        *,
        known: Entry | None = None,
        ttl: int = 0,
        reseal: bool = True,
    ) -> tuple[Entry, bool]:
        """
        Read, change, write, again when somebody else was faster. Equal objects are not written.

        Args:
            change: makes the new object from the current one; may be called several times.
            known: what the cache holds, to save the read; when `change` refuses it, it is asked again with what
                is really stored.

        Returns:
            The object as stored and whether it was written. Raises KeyMissingError and what `change` raises.
        """
        current, fresh, stale = known, False, False
        if current is None:
            (current, stale), fresh = await self._read(place, namespace, name), True
        while True:
            if current is None:
                raise KeyMissingError(object_key(place, namespace, name))
            try:
                wanted = await change(current)
            except ApiError:
                if fresh:
                    raise
                seen, fresh = current.revision, True
                current, stale = await self._read(place, namespace, name)
                if current is not None and current.revision == seen:
                    raise  # it was refused as it is
                continue
            if not (stale and reseal) and _same(wanted, current):
                if fresh:
                    return current, False
                (stored, stale), fresh = await self._read(place, namespace, name), True
                if not (stale and reseal) and stored is not None and stored.revision == current.revision:
                    return current, False
                current = stored
                continue
            try:
                return await self.replace(place, namespace, name, wanted, current.revision, ttl), True
            except RevisionConflictError as conflict:
                current, fresh, stale = conflict.current, True, conflict.stale

    async def reserve(self, place: str, name: str, owner: str) -> bool:
        """Take a name for oneself; False when somebody else has it."""
        key = object_key(place, "", name).encode()
        answer = await self._client.txn([backend.compare_mod(key, 0)], [backend.put(key, owner.encode())])
        return bool(answer.succeeded)

    async def release(self, place: str, name: str) -> None:
        await self._client.delete(object_key(place, "", name).encode())

    async def keep(self, place: str, name: str, ttl: int) -> None:
        """Say that somebody called `name` is alive; said again within `ttl` seconds, or forgotten."""
        lease = await self._client.grant_lease(ttl)
        await self._client.txn([], [backend.put(object_key(place, "", name).encode(), b"", lease)])

    async def names(self, place: str) -> list[str]:
        """Who is reserved or alive."""
        prefix = collection_prefix(place).encode()
        answer = await self._client.range(prefix, backend.range_end(prefix), keys_only=True)
        return [kv.key[len(prefix) :].decode() for kv in answer.kvs]

    async def list_at(self, place: str, namespace: str, revision: int, after: str, limit: int) -> Page:
        """
        Objects as of `revision` (0: now), from the key behind `after` on, at most `limit` (0: all).

        Raises CompactedError.
        """
        prefix = collection_prefix(place, namespace).encode()
        start = collection_prefix(place).encode() + after.encode() + b"\0" if after else prefix
        try:
            answer = await self._client.range(start, backend.range_end(prefix), limit=limit, revision=revision)
        except StoreError as fault:
            if fault.compacted:
                raise CompactedError(str(fault)) from fault
            raise
        entries = [self._opened(place, kv)[0] for kv in answer.kvs]
        return Page(entries, revision or answer.header.revision, answer.count - len(entries))


def _same(wanted: Object, current: Entry) -> bool:
    old = current.decode()
    old["metadata"].pop("resourceVersion", None)
    metadata = {k: v for k, v in wanted["metadata"].items() if k != "resourceVersion"}
    return {**wanted, "metadata": metadata} == old

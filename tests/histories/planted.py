"""
An apiserver with one fault of the kind that checkers exist for: `python -m tests.histories.planted BUG flags…`.

The faults are put in from outside, so the product holds no switch for them. Each is rare: a checker that finds only
what happens at every request finds nothing.
"""

import asyncio
import bisect
import itertools
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from cluster.apiserver import process
from cluster.apiserver.lists import Lister
from cluster.apiserver.registry.generic import Writer
from cluster.apiserver.registry.registry import Registry
from cluster.apiserver.watch import WatchStream
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Conflict
from cluster.store.encoding import Entry
from cluster.store.etcd_client import EtcdClient
from cluster.store.object_store import ObjectStore
from cluster.store.resource_cache import Change, ResourceCache
from cluster.store.watch_cache import WatchCache


def every(number: int) -> Callable[[], bool]:
    """True at each `number`th call."""
    calls = itertools.count(1)
    return lambda: next(calls) % number == 0


def put(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a method by what `make` makes of it."""
    setattr(owner, name, make(getattr(owner, name)))


def stale_read() -> None:
    """A consistent read is answered from what the cache happens to hold."""

    async def revision(self: WatchCache) -> int:
        return self.revision

    WatchCache.read_revision = revision  # type: ignore[method-assign]
    WatchCache.when_current = lambda self, told: told(True)  # type: ignore[method-assign]

    def late(watch: Any) -> Any:
        async def watched(*args: Any) -> AsyncIterator[Any]:
            async for response in watch(*args):
                if any(b"/configmaps/history/" in event.kv.key for event in response.events):
                    await asyncio.sleep(0.03)
                yield response

        return watched

    put(EtcdClient, "watch", late)


def no_comparison() -> None:
    """A write goes over whatever is there."""

    def make(replace: Any) -> Any:
        async def blind(self: ObjectStore, place: str, namespace: str, name: str, obj: Object, *rest: int) -> Entry:
            current = await self.get(place, namespace, name)
            revision = current.revision if current is not None else rest[0]
            stored: Entry = await replace(self, place, namespace, name, obj, revision, *rest[1:])
            return stored

        return blind

    put(ObjectStore, "replace", make)


def _events(change_of: Callable[[Any, Any, Change], None]) -> None:
    def make(deliver: Any) -> Any:
        def wrong(self: WatchStream, change: Change) -> None:
            change_of(deliver, self, change)

        return wrong

    put(WatchStream, "deliver", make)


def lost_event() -> None:
    """One event in three hundred is not told."""
    now = every(300)
    _events(lambda deliver, stream, change: None if now() else deliver(stream, change))


def doubled_event() -> None:
    """One event in three hundred is told twice."""
    now = every(300)

    def twice(deliver: Any, stream: WatchStream, change: Change) -> None:
        for _ in range(2 if now() else 1):
            deliver(stream, change)

    _events(twice)


def swapped_events() -> None:
    """One event in three hundred comes after its successor."""
    now = every(300)
    held: dict[int, Change] = {}

    def swap(deliver: Any, stream: WatchStream, change: Change) -> None:
        before = held.pop(id(stream), None)
        if before is None and now():
            held[id(stream)] = change
            return
        deliver(stream, change)
        if before is not None:
            deliver(stream, before)

    _events(swap)


def early_bookmark() -> None:
    """The initial state is said to be whole before its last object was told."""
    now = every(3)

    def make(write_state: Any) -> Any:
        async def short(self: WatchStream, entries: list[Entry]) -> None:
            await write_state(self, entries[:-1] if now() else entries)

        return short

    put(WatchStream, "write_state", make)


def torn_pages() -> None:
    """Later pages of a list are of now, and not of the first page's revision."""

    def make(_: Any) -> Any:
        async def of_now(
            self: Lister, kind: Any, namespace: str, revision: int, after: str, options: Any, matches: Any
        ) -> Any:
            return self._from_memory(kind, namespace, revision, after, options.limit, matches)

        return of_now

    put(Lister, "_at", make)


def wrong_version() -> None:
    """One write in fifty is answered with the version before its own."""
    now = every(50)

    def make(replace: Any) -> Any:
        async def off_by_one(self: ObjectStore, *args: Any) -> Entry:
            stored: Entry = await replace(self, *args)
            return stored.at_revision(stored.revision - 1) if now() else stored

        return off_by_one

    put(ObjectStore, "replace", make)


def lost_write() -> None:
    """One write in fifty is acknowledged and never made."""
    now = every(50)

    def make(replace: Any) -> Any:
        async def forgetful(self: ObjectStore, place: str, namespace: str, name: str, obj: Object, *rest: int) -> Entry:
            if now():
                from cluster.store.encoding import encode_stored

                return Entry(encode_stored(obj), rest[0] + 1)
            stored: Entry = await replace(self, place, namespace, name, obj, *rest)
            return stored

        return forgetful

    put(ObjectStore, "replace", make)


def double_bind() -> None:
    """Whoever binds a Pod does not look whether it is bound."""

    def make(update: Any) -> Any:
        async def blind(self: Writer, kind: Any, namespace: str, name: str, change: Any, *args: Any, **how: Any) -> Any:
            async def unbound(old: Object) -> Object:
                if how.get("subresource") == "binding":
                    old["spec"].pop("nodeName", None)
                wanted: Object = await change(old)
                return wanted

            if how.get("subresource") == "binding":
                how["validate"] = False
            return await update(self, kind, namespace, name, unbound, *args, **how)

        return blind

    put(Writer, "update", make)


def quota_race() -> None:
    """A quota's use that somebody else has changed meanwhile is left as it is."""

    def make(update: Any) -> Any:
        async def careless(self: Registry, resource: Any, obj: Object, subresource: str = "") -> Object:
            try:
                updated: Object = await update(self, resource, obj, subresource)
            except Conflict:
                if resource.plural != "resourcequotas":
                    raise
                return obj
            return updated

        return careless

    put(Registry, "update", make)


def ghost() -> None:
    """One deleted object in eight stays in memory."""
    now = every(8)

    def make(remove: Any) -> Any:
        def reluctant(self: ResourceCache, key: str, revision: int) -> None:
            old = self._entries.get(key)
            remove(self, key, revision)
            if old is not None and self.place == "configmaps" and now():
                self._entries[key] = old
                bisect.insort(self._keys, key)

        return reluctant

    put(ResourceCache, "remove", make)


BUGS: dict[str, Callable[[], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        stale_read, no_comparison, lost_event, doubled_event, swapped_events, early_bookmark,
        torn_pages, wrong_version, lost_write, double_bind, quota_race, ghost,
    )
}  # fmt: skip


if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    sys.exit(process.run(sys.argv[1:]))

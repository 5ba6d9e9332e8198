"""
A served resource: where it is stored, which objects the cache holds of it, and how its bytes become an answer.

One place may be served under several API versions (events, autoscaling v1 and v2); objects stored in the other
version are converted on the way out and in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from cluster.api.resources import Resource
from cluster.apiserver.registry.strategy import Strategy
from cluster.machinery.objects import Object, copy_object
from cluster.store.encoding import Entry
from cluster.store.resource_cache import ResourceCache

Convert = Callable[[Object, str], Object]
"""Bring an object into the given apiVersion; may change and return its argument."""


@dataclass(slots=True)
class Kind:
    resource: Resource
    place: str
    cache: ResourceCache
    strategy: Strategy
    storage_version: str
    """apiVersion that objects are stored in."""
    convert: Convert | None = None
    custom: bool = False
    """A custom resource: items of its lists carry kind and apiVersion."""
    ttl: int = 0
    """Seconds after which objects vanish; 0 for never."""
    converts: bool = False
    """Objects stored in another version are not readable by `decode` until `converted` has asked a webhook."""
    prefix: bytes = field(init=False)
    list_head: bytes = field(init=False)
    """A list up to its metadata."""

    def __post_init__(self) -> None:
        self.prefix = orjson.dumps({"kind": self.resource.kind, "apiVersion": self.resource.api_version})[:-1] + b","
        head = {"kind": self.list_kind, "apiVersion": self.resource.api_version}
        self.list_head = orjson.dumps(head)[:-1] + b',"metadata":'

    @property
    def list_kind(self) -> str:
        return f"{self.resource.kind}List"

    def whole(self, entry: Entry) -> bytes:
        """The object as GET answers it, in this kind's version."""
        if entry.api_version == self.resource.api_version:
            return self.prefix + entry.item[1:]
        return orjson.dumps(self.decode(entry))

    def item(self, entry: Entry) -> bytes:
        """The object as an item of a list."""
        if self.custom:
            return self.whole(entry)
        if entry.api_version == self.resource.api_version:
            return entry.item
        obj = self.decode(entry)
        del obj["kind"], obj["apiVersion"]
        return orjson.dumps(obj)

    def decode(self, entry: Entry) -> Object:
        """A copy in this kind's version, which the caller may change."""
        obj = entry.decode()
        if self.convert is not None and obj["apiVersion"] != self.resource.api_version:
            obj = self.convert(obj, self.resource.api_version)
        return obj

    def to_storage(self, obj: Object) -> Object:
        if self.convert is not None and obj["apiVersion"] != self.storage_version:
            return self.convert(obj, self.storage_version)
        return obj

    async def bring(self, obj: Object) -> Object:
        """A copy of an object in another version of this kind, in this one."""
        found = copy_object(obj)
        if self.convert is not None and found["apiVersion"] != self.resource.api_version:
            found = self.convert(found, self.resource.api_version)
        return found

    # Only for kinds that say `converts`; who does not, need not wait.

    async def converted(self, entries: Sequence[Entry]) -> list[Entry]:
        """Entries in this kind's version, in the same order. Raises ApiError when that fails for one of them."""
        return list(entries)

    async def shown(self, entry: Entry) -> Entry:
        if not self.converts:
            return entry
        [found] = await self.converted([entry])
        return found

    async def stored(self, obj: Object) -> Object:
        """As `to_storage`."""
        return self.to_storage(obj)

"""
Instances as they are read: in the version that is asked for, without what the schema does not know, with its defaults.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from cluster.api.custom_resource import CustomResource
from cluster.apiserver.registry.kinds import Kind
from cluster.machinery import typed
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import ApiError
from cluster.store.encoding import Entry

if TYPE_CHECKING:
    from cluster.apiserver.custom_resources.conversion import Converter

_REMEMBERED = 50_000


@dataclass(slots=True)
class CustomKind(Kind):
    converter: "Converter | None" = None
    """Versions differ in more than their name, and a webhook converts between them."""
    _as_stored: dict[str, int] = field(default_factory=dict)
    """Revisions, by uid, of objects whose stored bytes are the answer: they need not be decoded again."""

    def whole(self, entry: Entry) -> bytes:
        resource = self.resource
        if entry.api_version == resource.api_version and self._as_stored.get(entry.uid) == entry.revision:
            return self.prefix + entry.item[1:]
        obj = self.decode(entry)
        if self.converter is not None:
            return orjson.dumps(obj)  # a webhook may answer differently about the same revision
        if obj == entry.decode():
            if len(self._as_stored) >= _REMEMBERED:
                self._as_stored.clear()
            self._as_stored[entry.uid] = entry.revision
        return orjson.dumps(obj)

    def decode(self, entry: Entry) -> Object:
        resource = self.resource
        obj = entry.decode()
        if obj["apiVersion"] != resource.api_version:
            obj = self._converted(obj, resource.api_version)
        if isinstance(resource, CustomResource):
            typed.normalize(resource.shape, obj)
            resource.complete(obj)
        return obj

    def to_storage(self, obj: Object) -> Object:
        if obj["apiVersion"] != self.storage_version:
            return self._converted({**obj}, self.storage_version)
        return obj

    def _converted(self, obj: Object, version: str) -> Object:
        if self.converter is not None:
            # Whoever serves clients has asked `converted` before; readers inside the server cannot wait for a webhook.
            what = f"conversion webhook for {obj['apiVersion']}, Kind={obj['kind']}"
            why = f"the server's own readers cannot wait for it; refer to the stored version {obj['apiVersion']}"
            raise ApiError(f"{what} failed: {why}", code=500, reason="")
        obj["apiVersion"] = version
        return obj

    async def bring(self, obj: Object) -> Object:
        resource, found = self.resource, copy_object(obj)
        if found["apiVersion"] != resource.api_version:
            if self.converter is not None:
                [found] = await self.converter.objects([found], resource.api_version)
            found["apiVersion"] = resource.api_version
        if isinstance(resource, CustomResource):
            typed.normalize(resource.shape, found)
            resource.complete(found)
        return found

    async def converted(self, entries: Sequence[Entry]) -> list[Entry]:
        if self.converter is None:
            return list(entries)
        return await self.converter.entries(entries, self.resource.api_version)

    async def stored(self, obj: Object) -> Object:
        if self.converter is None or obj["apiVersion"] == self.storage_version:
            return self.to_storage(obj)
        plain = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}}
        [made] = await self.converter.objects([plain], self.storage_version)
        return made

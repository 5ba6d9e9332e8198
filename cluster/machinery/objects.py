"""
The shape every API object has in memory: the JSON that is on the wire, as plain dicts and lists.

Used by every room of `cluster`. Objects in an informer's cache or in the store's are shared: read them,
copy before changing (`copy_object`).
"""

from typing import Any, NamedTuple

import orjson

Object = dict[str, Any]
"""One API object, or any JSON mapping inside one."""


class Key(NamedTuple):
    """Namespace and name; the namespace of a cluster-scoped object is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Object) -> Key:
    metadata = obj.get("metadata") or {}
    return Key(metadata.get("namespace") or "", metadata.get("name") or "")


def copy_object(obj: Object) -> Object:
    """A deep copy. Through JSON it takes a seventh of copy.deepcopy's time."""
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied

"""
Two ways to be absent, as in upstream's types.

A plain string counts as absent when it is empty, a pointer only when it is null.
"""

from collections.abc import Iterator
from typing import Any

from cluster.machinery.objects import Object


def fill(obj: Object, key: str, value: Any) -> None:
    """Sets a plain field that is absent, null or an empty string."""
    if obj.get(key) in (None, ""):
        obj[key] = value


def fill_pointer(obj: Object, key: str, value: Any) -> None:
    """Sets a pointer field that is absent or null; an empty string was meant."""
    if obj.get(key) is None:
        obj[key] = value


def child(obj: Object, key: str) -> Object:
    """The mapping at `key`; made when absent, because upstream always writes a struct that is no pointer."""
    found = obj.get(key)
    if found is None:
        found = obj[key] = {}
    mapping: Object = found
    return mapping


def items(obj: Object, key: str) -> Iterator[Object]:
    """The mappings of a list that may be absent or null."""
    for item in obj.get(key) or ():
        if isinstance(item, dict):
            yield item


def default_condition_times(status: Object, *keys: str) -> None:
    """Times of conditions are always written, unknown ones as null."""
    for condition in items(status, "conditions"):
        for key in keys:
            condition.setdefault(key, None)


def mappings(obj: Object, *keys: str) -> Iterator[Object]:
    """Those of the fields that hold a mapping."""
    for key in keys:
        value = obj.get(key)
        if isinstance(value, dict):
            yield value

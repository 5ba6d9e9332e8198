"""
The patch that a server without server-side apply gets: from what we wrote last, what we want and what is there. Pure.

What we wrote and no longer want goes, what differs is set, everything else is the member's. Lists merge by their keys
where the kind's shape has any (a strategic merge patch), else they are replaced as a whole (a JSON merge patch).
"""

from collections.abc import Iterator
from typing import Any

from cluster.machinery.objects import Object
from cluster.machinery.shapes import Field, Shape

_NOTHING: Any = object()


def three_way_patch(shape: Shape | None, last: Object, wanted: Object, live: Object) -> Object:
    """A strategic merge patch when there is a shape, else a JSON merge patch; empty when nothing has to be done."""
    return _map(shape, last, wanted, live)


def _map(shape: Shape | None, last: Object, wanted: Object, live: Object) -> Object:
    patch: Object = {}
    for name, value in wanted.items():
        if value is None:
            continue
        if name not in live:
            patch[name] = value
            continue
        field = _field(shape, name)
        below = _value(field, last.get(name), value, live[name])
        if below is not _NOTHING:
            patch[name] = below
        if field is not None and _is_set(field, value, live[name]):
            gone = [one for one in last.get(name) or () if one not in value and one in live[name]]
            if gone:
                patch[f"$deleteFromPrimitiveList/{name}"] = gone
    for name in last:
        if name not in wanted and name in live:
            patch[name] = None
    return patch


def _field(shape: Shape | None, name: str) -> Field | None:
    """None: merged as JSON."""
    if shape is None:
        return None
    if shape.kind == "map":
        return Field(shape.element)
    return shape.fields.get(name)


def _value(field: Field | None, last: Any, wanted: Any, live: Any) -> Any:
    if isinstance(wanted, dict) and isinstance(live, dict):
        patch = _map(field.shape if field else None, last if isinstance(last, dict) else {}, wanted, live)
        if patch and field is not None and "retainKeys" in field.patch_strategy.split(","):
            patch["$retainKeys"] = sorted(wanted)
        return patch or _NOTHING
    if isinstance(wanted, list) and isinstance(live, list) and field is not None:
        if _is_set(field, wanted, live):
            missing = [one for one in wanted if one not in live]
            return missing or _NOTHING
        if _is_keyed(field, wanted, live):
            patched = list(_items(field, last if isinstance(last, list) else [], wanted, live))
            return patched or _NOTHING
    return _NOTHING if wanted == live else wanted


def _items(field: Field, last: list[Any], wanted: list[Any], live: list[Any]) -> Iterator[Any]:
    key = field.merge_key
    there, before = _by_key(live, key), _by_key(last, key)
    for item in wanted:
        name = item[key]
        if name not in there:
            yield item
            continue
        patch = _map(field.shape.element, before.get(name) or {}, item, there[name])
        if patch:
            yield {key: name, **patch}
    names = {item[key] for item in wanted}
    for name in before:
        if name not in names and name in there:
            yield {key: name, "$patch": "delete"}


def _by_key(items: list[Any], key: str) -> dict[Any, Object]:
    return {item[key]: item for item in items if isinstance(item, dict) and isinstance(item.get(key), (str, int))}


def _merges(field: Field) -> bool:
    return "merge" in field.patch_strategy.split(",")


def _is_set(field: Field, wanted: Any, live: Any) -> bool:
    if not (_merges(field) and not field.merge_key and isinstance(wanted, list) and isinstance(live, list)):
        return False
    return not any(isinstance(one, (dict, list)) for one in (*wanted, *live))


def _is_keyed(field: Field, wanted: list[Any], live: list[Any]) -> bool:
    return (
        _merges(field)
        and bool(field.merge_key)
        and all(isinstance(one, dict) and isinstance(one.get(field.merge_key), (str, int)) for one in (*wanted, *live))
    )

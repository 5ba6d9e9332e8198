"""
Sets of field paths, as FieldsV1 writes them, and which paths an object has or two objects differ in.

A set is a tree of dicts: `f:name` for a field, `k:{...}` for an item of a keyed list, `v:...` for one of a set. A path
is a member when its node has the key `.`; on the wire a node that is only a member is written `{}`.
Source: structured-merge-diff, fieldpath and typed (the algorithm; what is a member when follows it exactly).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from cluster.machinery.field_errors import quoted
from cluster.machinery.objects import Object
from cluster.machinery.shapes import ANY, Shape

FieldSet = dict[str, Any]
MEMBER = "."
_MISSING: Any = object()


def leaf() -> FieldSet:
    """A node that is a member and has nothing below."""
    return {MEMBER: {}}


def parse(fields: Any) -> FieldSet:
    """From FieldsV1. Raises ValueError for anything that is none."""
    if not isinstance(fields, dict):
        raise ValueError(f"FieldsV1 must be an object, not {type(fields).__name__}")
    found: FieldSet = {}
    for key, below in fields.items():
        if key == MEMBER:
            found[MEMBER] = {}
        elif key[:2] in ("f:", "k:", "v:", "i:"):
            found[key] = parse(below) if below else leaf()
        else:
            raise ValueError(f"missing colon or unknown type in path element {key!r}")
    return found


def encode(fields: FieldSet) -> Object:
    """To FieldsV1, sorted."""
    return {
        key: {} if key == MEMBER or (len(below) == 1 and MEMBER in below) else encode(below)
        for key, below in sorted(fields.items())
    }


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    if not left or not right:
        return left or right
    both = dict(left)
    for key, below in right.items():
        both[key] = union(both[key], below) if key in both else below
    return both


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of `left` that are not members of `right`."""
    if not right:
        return left
    found: FieldSet = {}
    for key, below in left.items():
        if key not in right:
            found[key] = below
        elif key != MEMBER and (rest := difference(below, right[key])):
            found[key] = rest
    return found


def without_prefixes(fields: FieldSet, prefixes: FieldSet) -> FieldSet:
    """Less every path that is or is below a member of `prefixes`."""
    found: FieldSet = {}
    for key, below in fields.items():
        other = prefixes.get(key) if key != MEMBER else None
        if other is None:
            found[key] = below
        elif MEMBER not in other and (rest := without_prefixes(below, other)):
            found[key] = rest
    return found


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    found: FieldSet = {}
    for key, below in left.items():
        if key == MEMBER:
            if MEMBER in right:
                found[MEMBER] = {}
        elif key in right and (rest := intersection(below, right[key])):
            found[key] = rest
    return found


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every member as upstream's errors write it: `.spec.containers[name="c"].image`."""
    for key, below in sorted(fields.items()):
        if key == MEMBER:
            yield prefix
        else:
            yield from paths(below, prefix + _shown(key))


def _shown(key: str) -> str:
    kind, text = key[:2], key[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "k:":
        keys = orjson.loads(text)
        return "[" + ",".join(f"{name}={_shown_value(value)}" for name, value in keys.items()) + "]"
    return f"[={_shown_value(orjson.loads(text))}]" if kind == "v:" else f"[{text}]"


def _shown_value(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else orjson.dumps(value).decode()


def item_key(shape: Shape, item: Any) -> str:
    """The path element of an item of a list that is a set or a map. Raises ValueError when it has no key."""
    if shape.list_type == "set":
        return "v:" + orjson.dumps(item).decode()
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    found = {}
    for name in sorted(shape.keys):
        value = item.get(name)
        if value is None:
            value = shape.defaults.get(name)
        if value is not None:
            found[name] = value
    if not found:
        raise ValueError("associative list with keys has an element that omits all key fields")
    return "k:" + orjson.dumps(found).decode()


def items_by_key(shape: Shape, items: list[Any]) -> dict[str, Any]:
    """Items of a keyed list; of two with one key the first. An item without a key gets its place as key."""
    found: dict[str, Any] = {}
    for index, item in enumerate(items):
        try:
            found.setdefault(item_key(shape, item), item)
        except ValueError:
            found[f"i:{index}"] = item
    return found


def is_granular(shape: Shape, value: Any) -> bool:
    """True when parts of the value are owned one by one."""
    if isinstance(value, dict):
        return not shape.atomic and shape.kind in ("object", "map", "any")
    return isinstance(value, list) and shape.kind == "list" and not shape.atomic


def is_struct_field(shape: Shape, key: str) -> bool:
    """A declared field, unlike a key of a map."""
    return key.startswith("f:") and shape.kind == "object" and key[2:] in shape.fields


def descend(shape: Shape, key: str) -> Shape:
    """The shape below a path element."""
    if key.startswith("f:"):
        return shape.child(key[2:])
    return shape.element if shape.kind == "list" else ANY


def members(value: Any, shape: Shape) -> Iterator[tuple[str, Any]]:
    """What is directly below a granular value, by path element."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield f"f:{name}", child
    else:
        yield from items_by_key(shape, value).items()


def field_set(shape: Shape, value: Any) -> FieldSet:
    """All paths that an applied configuration owns: its leaves, its list items, its empty maps."""
    found: FieldSet = {}
    for key, child in members(value, shape):
        below = descend(shape, key)
        if not is_granular(below, child):
            found[key] = leaf()
            continue
        node = field_set(below, child)
        empty_map = isinstance(child, dict) and not child
        if empty_map or not key.startswith("f:") or not is_struct_field(shape, key):
            node = {**node, MEMBER: {}}
        if node:
            found[key] = node
    return found


class Comparison(NamedTuple):
    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def taken(self) -> FieldSet:
        """What the writer of the new object becomes owner of."""
        return union(self.modified, self.added)


def compare(shape: Shape, old: Object, new: Object) -> Comparison:
    """Paths in which `new` differs from `old`."""
    result = Comparison({}, {}, {})
    _compare(shape, old, new, result)
    return result


def _compare(shape: Shape, old: Any, new: Any, node: Comparison) -> None:
    if old is not _MISSING and new is not _MISSING and old == new and type(old) is type(new):
        return
    present = [value for value in (old, new) if value is not _MISSING and value is not None]
    if not present or not all(is_granular(shape, value) for value in present) or not any(present):
        _compare_leaf(old, new, node)
        return
    before, after = (dict(members(value, shape)) if value else {} for value in (_or_none(old), _or_none(new)))
    for key in dict.fromkeys((*before, *after)):
        below = Comparison({}, {}, {})
        _compare(descend(shape, key), before.get(key, _MISSING), after.get(key, _MISSING), below)
        for mine, theirs in zip(node, below, strict=True):
            if theirs:
                mine[key] = theirs
    if old is _MISSING:
        node.added[MEMBER] = {}
    elif new is _MISSING:
        node.removed[MEMBER] = {}


def _or_none(value: Any) -> Any:
    return None if value is _MISSING else value


def _compare_leaf(old: Any, new: Any, node: Comparison) -> None:
    if old is _MISSING:
        if new is not _MISSING:
            node.added[MEMBER] = {}
    elif new is _MISSING:
        node.removed[MEMBER] = {}
    else:
        node.modified[MEMBER] = {}


def with_named_fields(shape: Shape, fields: FieldSet) -> FieldSet:
    """The same set with every declared field on the way to a member as a member itself."""
    found: FieldSet = {}
    for key, below in fields.items():
        if key == MEMBER:
            found[MEMBER] = {}
            continue
        node = with_named_fields(descend(shape, key), below)
        found[key] = {**node, MEMBER: {}} if MEMBER not in node and is_struct_field(shape, key) else node
    return found


def remove(shape: Shape, value: Any, fields: FieldSet) -> Any:
    """The value without the members of `fields`; a map or list that is emptied by it goes too (None)."""
    if not fields or not is_granular(shape, value):
        return value
    kept: list[tuple[str, Any]] = []
    for key, child in members(value, shape):
        node = fields.get(key)
        if node is None:
            kept.append((key, child))
        elif MEMBER not in node:
            rest = remove(descend(shape, key), child, node)
            if rest is not None or child is None:
                kept.append((key, rest))
    if not kept:
        return None
    return {key[2:]: child for key, child in kept} if isinstance(value, dict) else [child for _, child in kept]

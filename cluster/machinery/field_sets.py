"""
Sets of field paths, as FieldsV1 writes them, and which paths an object has or two objects differ in.

A set is a tree of dicts, the same in memory as on the wire: `f:name` for a field, `k:{...}` for an item of a keyed
list, `v:...` for one of a set. A path is a member when its node is empty or has the key `.`. Sets are never changed
in place: their parts are shared.
Source: structured-merge-diff, fieldpath and typed (the algorithm; what is a member when follows it exactly).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from cluster.machinery.field_errors import quoted
from cluster.machinery.objects import Object
from cluster.machinery.shapes import ANY, Shape

FieldSet = dict[str, Any]
Node = dict[str, Any] | None
"""What is below one path element; None when nothing is."""
MEMBER = "."
_LEAF: FieldSet = {}
_MISSING: Any = object()


def parse(fields: Any) -> FieldSet:
    """FieldsV1 that came from outside. Raises ValueError for anything that is none."""
    if not isinstance(fields, dict):
        raise ValueError(f"FieldsV1 must be an object, not {type(fields).__name__}")
    for key, below in fields.items():
        if key != MEMBER and key[:2] not in ("f:", "k:", "v:", "i:"):
            raise ValueError(f"missing colon or unknown type in path element {key!r}")
        if below:
            parse(below)
        elif below != {}:
            raise ValueError(f"FieldsV1 must be an object, not {type(below).__name__}")
    return fields


def encode(fields: FieldSet) -> Object:
    """A sorted copy, for `managedFields`."""
    return {key: encode(node) if (node := fields[key]) else {} for key in sorted(fields)}


def is_member(node: FieldSet) -> bool:
    return not node or MEMBER in node


def _as_member(node: FieldSet) -> FieldSet:
    return node if is_member(node) else {MEMBER: {}, **node}


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    if not left or not right:
        return left or right
    both = dict(left)
    for key, node in right.items():
        if key == MEMBER:
            both[MEMBER] = {}
        elif key in both:
            mine = both[key]
            merged = union(mine, node) if mine and node else mine or node
            both[key] = _as_member(merged) if is_member(mine) or is_member(node) else merged
        else:
            both[key] = node
    return both


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Members of `left` that are not members of `right`."""
    if not right:
        return left
    found: FieldSet = {}
    for key, node in left.items():
        if key == MEMBER:
            continue
        other = right.get(key)
        if other is None:
            found[key] = node
            continue
        rest = _rebuilt(difference(node, other) if node else {}, member=is_member(node) and not is_member(other))
        if rest is not None:
            found[key] = rest
    return found


def _rebuilt(below: FieldSet, *, member: bool) -> Node:
    """A node from what is left below it."""
    bare = {key: node for key, node in below.items() if key != MEMBER} if MEMBER in below else below
    if not bare:
        return {} if member else None
    return {MEMBER: {}, **bare} if member else bare


def without_prefixes(fields: FieldSet, prefixes: FieldSet) -> FieldSet:
    """Less every path that is or is below a member of `prefixes`."""
    if not prefixes:
        return fields
    found: FieldSet = {}
    for key, node in fields.items():
        other = prefixes.get(key) if key != MEMBER else None
        if other is None:
            found[key] = node
        elif not is_member(other):
            rest = _rebuilt(without_prefixes(node, other) if node else {}, member=is_member(node))
            if rest is not None:
                found[key] = rest
    return found


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    found: FieldSet = {}
    for key, node in left.items():
        other = right.get(key)
        if key == MEMBER or other is None:
            continue
        rest = _rebuilt(intersection(node, other), member=is_member(node) and is_member(other))
        if rest is not None:
            found[key] = rest
    return found


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """Every member as upstream's errors write it: `.spec.containers[name="c"].image`."""
    for key, node in sorted(fields.items()):
        if key == MEMBER:
            continue
        shown = prefix + _shown(key)
        if is_member(node):
            yield shown
        yield from paths(node, shown)


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
    for name in shape.keys:
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
    only = shape.keys[0] if len(shape.keys) == 1 else ""
    prefix = f'k:{{"{only}":"'
    for index, item in enumerate(items):
        value = item.get(only) if only and type(item) is dict else None
        if type(value) is str and _is_plain(value):
            found.setdefault(f'{prefix}{value}"}}', item)  # what item_key would make, at a fifth of the cost
            continue
        try:
            found.setdefault(item_key(shape, item), item)
        except ValueError:
            found[f"i:{index}"] = item
    return found


def _is_plain(text: str) -> bool:
    """JSON writes it as it is, between quotes."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def is_granular(shape: Shape, value: Any) -> bool:
    """True when parts of the value are owned one by one."""
    if type(value) is dict:
        return not shape.atomic and shape.kind in ("object", "map", "any")
    return type(value) is list and shape.kind == "list" and not shape.atomic


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
            found[key] = _LEAF
            continue
        node = field_set(below, child)
        if not is_struct_field(shape, key):
            found[key] = {MEMBER: {}, **node} if node else _LEAF
        elif node or isinstance(child, dict):
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
    if old != new:
        _compare_members(shape, old, new, result)
    return result


def _compare_members(shape: Shape, old: Any, new: Any, result: Comparison) -> None:
    """What differs below two granular values (or nulls) goes into `result`, by path element."""
    before = dict(members(old, shape)) if old else {}
    after = dict(members(new, shape)) if new else {}
    for key, value in after.items():
        previous = before.get(key, _MISSING)
        if previous is _MISSING:
            result.added[key] = _everything(descend(shape, key), value)
        elif previous != value or type(previous) is not type(value):
            _compare_changed(descend(shape, key), key, previous, value, result)
    for key, value in before.items():
        if key not in after:
            result.removed[key] = _everything(descend(shape, key), value)


def _compare_changed(shape: Shape, key: str, old: Any, new: Any, result: Comparison) -> None:
    """One path element that both have, with different values."""
    granular = [value for value in (old, new) if value is not None]
    if not any(granular) or not all(is_granular(shape, value) for value in granular):
        result.modified[key] = _LEAF
        return
    below = Comparison({}, {}, {})
    _compare_members(shape, old, new, below)
    for mine, theirs in zip(result, below, strict=True):
        if theirs:
            mine[key] = theirs


def _everything(shape: Shape, value: Any) -> FieldSet:
    """The node of a value that is new or gone as a whole: it and all that it consists of."""
    if not value or not is_granular(shape, value):
        return _LEAF
    node: FieldSet = {MEMBER: {}}
    if type(value) is list:
        element = shape.element
        for key, item in items_by_key(shape, value).items():
            node[key] = _everything(element, item)
        return node
    for name, child in value.items():
        # Most are scalars, and a pod has two hundred: they are not worth a call each.
        is_leaf = type(child) is not dict and type(child) is not list
        node[f"f:{name}"] = _LEAF if is_leaf else _everything(shape.child(name), child)
    return node


def created(shape: Shape, new: Object, left_out: FieldSet, prefixes: FieldSet) -> FieldSet:
    """
    What the creator of an object owns, as `encode` writes it: in one walk what otherwise takes a comparison with
    the kind's zero value, two subtractions and a copy. Creates are the most frequent writes.

    Args:
        left_out: Members that nobody owns; of `metadata` and of the top alone.
        prefixes: Fields of the top that this write cannot set.
    """
    zero = shape.zero
    found: FieldSet = {}
    for name in sorted(new):
        key, value = f"f:{name}", new[name]
        stripped = left_out.get(key, _MISSING)
        if key in prefixes or stripped == _LEAF:
            continue
        below = shape.child(name)
        if stripped is _MISSING:
            node = _created_part(below, zero.get(name, _MISSING), value)
        else:
            before = zero.get(name) or {}
            parts = {
                f"f:{inner}": part
                for inner in sorted(value)
                if f"f:{inner}" not in stripped
                and (part := _created_part(below.child(inner), before.get(inner, _MISSING), value[inner])) is not None
            }
            node = parts or None
        if node is not None:
            found[key] = node
    return found


def _created_part(shape: Shape, zero: Any, value: Any) -> Node:
    """The node of a field; None when it is what the kind has without being asked."""
    if zero is _MISSING:
        return _all_of(shape, value)
    if zero == value and type(zero) is type(value):
        return None
    there = [each for each in (zero, value) if each is not None]
    if not any(there) or not all(is_granular(shape, each) for each in there):
        return {}
    if type(value) is dict:
        before = zero or {}
        parts = {
            f"f:{name}": part
            for name in sorted(value)
            if (part := _created_part(shape.child(name), before.get(name, _MISSING), value[name])) is not None
        }
        return parts or None
    items = items_by_key(shape, value or [])  # no kind's zero value has items of its own
    return {key: _all_of(shape.element, items[key]) for key in sorted(items)} or None


def _all_of(shape: Shape, value: Any) -> FieldSet:
    """`_everything`, sorted and not shared."""
    if not value or not is_granular(shape, value):
        return {}
    node: FieldSet = {MEMBER: {}}
    if type(value) is list:
        items = items_by_key(shape, value)
        for key in sorted(items):
            node[key] = _all_of(shape.element, items[key])
        return node
    for name in sorted(value):
        child = value[name]
        is_leaf = type(child) is not dict and type(child) is not list
        node[f"f:{name}"] = {} if is_leaf else _all_of(shape.child(name), child)
    return node


def with_named_fields(shape: Shape, fields: FieldSet) -> FieldSet:
    """The same set with every declared field on the way to a member as a member itself."""
    found: FieldSet = {}
    for key, node in fields.items():
        if key == MEMBER or not node:
            found[key] = node
            continue
        named = with_named_fields(descend(shape, key), node)
        found[key] = _as_member(named) if is_struct_field(shape, key) else named
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
        elif not is_member(node):
            rest = remove(descend(shape, key), child, node)
            if rest is not None or child is None:
                kept.append((key, rest))
    if not kept:
        return None
    return {key[2:]: child for key, child in kept} if isinstance(value, dict) else [child for _, child in kept]

"""
Strategic merge patch: like a merge patch, but lists merge by key where the kind's shape says so.

Directives in a patch: `$patch` (replace, delete, merge), `$retainKeys`, `$setElementOrder/LIST`,
`$deleteFromPrimitiveList/LIST`. Source: k8s.io/apimachinery, pkg/util/strategicpatch.
"""

from collections.abc import Sequence
from typing import Any

from cluster.machinery.merge_patch import require_map
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.shapes import ANY, Field, Shape, Shaped
from cluster.machinery.status_errors import BadRequest

_PATCH = "$patch"
_RETAIN_KEYS = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE_VALUES = "$deleteFromPrimitiveList/"
_UNKNOWN = Field(ANY)


def apply(resource: Shaped | Shape, doc: Object, patch: Any) -> Object:
    """The patched document; neither argument is changed. Raises BadRequest for a malformed patch."""
    shape = resource if isinstance(resource, Shape) else resource.shape
    return _merge_map(shape, copy_object(doc), copy_object(require_map(patch)))


def _field(shape: Shape, name: str) -> Field:
    if shape.kind == "map":
        return Field(shape.element)
    return shape.fields.get(name, _UNKNOWN)


def _strategies(field: Field) -> tuple[str, ...]:
    return tuple(field.patch_strategy.split(",")) if field.patch_strategy else ()


def _merge_map(shape: Shape, original: Object, patch: Object) -> Object:
    """Merges into `original`, using up `patch`."""
    directive = patch.pop(_PATCH, None)
    if directive == "replace":
        return patch
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise BadRequest(f"unknown patch type: {directive} in map: {patch}")
    _retain_keys(original, patch)
    _set_element_orders(shape, original, patch)
    for key, value in patch.items():
        if key.startswith(_DELETE_VALUES):
            _delete_values(original, key.removeprefix(_DELETE_VALUES), value)
        elif value is None:
            original.pop(key, None)
        else:
            original[key] = _merge_value(_field(shape, key), original.get(key), value)
    return original


def _merge_value(field: Field, original: Any, value: Any) -> Any:
    strategies = _strategies(field)
    if isinstance(original, dict) and isinstance(value, dict):
        return value if "replace" in strategies else _merge_map(field.shape, original, value)
    if isinstance(original, list) and isinstance(value, list) and "merge" in strategies:
        return _merge_list(field, original, value)
    return _without_directives(value)


def _retain_keys(original: Object, patch: Object) -> None:
    """Of a union such as a volume's source: what the patch does not name goes."""
    if _RETAIN_KEYS not in patch:
        return
    retained = patch.pop(_RETAIN_KEYS)
    named = {key for key in patch if not key.startswith("$")}
    if not isinstance(retained, list) or not named <= set(map(str, retained)):
        raise BadRequest("invalid patch format of retainKeys")
    for key in [key for key in original if key not in retained]:
        del original[key]


def _delete_values(original: Object, name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise BadRequest("invalid patch format of primitive list")
    if isinstance(original.get(name), list):
        original[name] = [item for item in original[name] if item not in values]


def _set_element_orders(shape: Shape, original: Object, patch: Object) -> None:
    """Merge the lists that come with an order, and put their items into it."""
    for directive in [key for key in patch if key.startswith(_ORDER)]:
        order = patch.pop(directive)
        name = directive.removeprefix(_ORDER)
        field = _field(shape, name)
        before, change = original.get(name), patch.pop(name, None)
        if not isinstance(order, list) or not isinstance(change, list | None) or not isinstance(before, list | None):
            raise BadRequest("invalid patch format of setElementOrder list")
        _require_ordered(change, order, field.merge_key)
        if before is None and change is None:
            continue
        if before is None:
            merged = _without_directives(change)
        elif change is None:
            merged = before
        else:
            merged = _merge_value(field, list(before), change)
        original[name] = _ordered(merged, order, before or [], field.merge_key)


def _require_ordered(change: list[Any] | None, order: list[Any], key: str) -> None:
    """What a patch changes has to have a place in its order, in the same sequence."""
    kept = [item for item in change or () if not (isinstance(item, dict) and item.get(_PATCH) == "delete")]
    places = [_place(item, order, key) for item in kept if not (isinstance(item, dict) and _PATCH in item)]
    if any(place < 0 for place in places) or places != sorted(places):
        shown = [_identity(item, key) for item in kept]
        raise BadRequest(
            f"the order in patch list:\n{shown}\n doesn't match $setElementOrder list:\n"
            f"{[_identity(item, key) for item in order]}\n"
        )


def _merge_list(field: Field, original: list[Any], patch: list[Any]) -> list[Any]:
    if not original and not patch:
        return original
    if any(isinstance(item, list) for item in (*original, *patch)):
        raise BadRequest("lists of lists are not supported")
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        merged = list(dict.fromkeys([*original, *patch]))
        return _ordered(merged, patch, original, "")
    key = field.merge_key
    if not key:
        raise BadRequest(f"cannot merge lists without merge key for type {field.shape.element.go}")
    remaining, changes = _special_items(original, patch, key)
    if changes is None:
        return [_without_directives(item) for item in remaining]
    merged = _merge_items(field.shape.element, remaining, changes, key)
    return _ordered(merged, changes, original, key)


def _special_items(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any] | None]:
    """Items with `$patch`: deletions are done, a replacement returns the new list and no changes."""
    changes, replaces = [], False
    for item in patch:
        directive = item.get(_PATCH) if isinstance(item, dict) else None
        if directive is None:
            changes.append(item)
        elif directive == "delete":
            value = _key_value(item, key)
            original = [other for other in original if not (isinstance(other, dict) and other.get(key) == value)]
        elif directive == "replace":
            replaces = True
        else:
            raise BadRequest(f"unknown patch type: {directive} in map: {item}")
    return (changes, None) if replaces else (original, changes)


def _merge_items(element: Shape, original: list[Any], changes: list[Any], key: str) -> list[Any]:
    merged = list(original)
    for change in changes:
        value = _key_value(change, key)
        at = next((i for i, item in enumerate(merged) if isinstance(item, dict) and item.get(key) == value), None)
        if at is None:
            merged.append(_without_directives(change))
        else:
            merged[at] = _merge_map(element, merged[at], dict(change))
    return merged


def _key_value(item: Any, key: str) -> Any:
    if not isinstance(item, dict) or item.get(key) is None:
        raise BadRequest(f"map: {item} does not contain declared merge key: {key}")
    return item[key]


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if key and isinstance(item, dict) else item


def _place(item: Any, order: Sequence[Any], key: str) -> int:
    wanted = _identity(item, key)
    return next((index for index, other in enumerate(order) if _identity(other, key) == wanted), -1)


def _ordered(merged: list[Any], patch_order: Sequence[Any], server_order: Sequence[Any], key: str) -> list[Any]:
    """
    Items that the patch names come in its order, the others in the server's.

    Where one of each could come next, the server's order decides if it knows both, else the patched item is first.
    """
    named = sorted(
        (item for item in merged if _place(item, patch_order, key) >= 0), key=lambda i: _place(i, patch_order, key)
    )
    others = sorted(
        (item for item in merged if _place(item, patch_order, key) < 0), key=lambda i: _place(i, server_order, key)
    )
    result = []
    while named and others:
        left, right = _place(others[0], server_order, key), _place(named[0], server_order, key)
        result.append((others if 0 <= left < right else named).pop(0))
    return [*result, *named, *others]


def _without_directives(value: Any) -> Any:
    """What a patch adds newly: its directives are about nothing, its nulls delete nothing."""
    if isinstance(value, dict):
        return {
            key: _without_directives(child)
            for key, child in value.items()
            if child is not None and not (key in (_PATCH, _RETAIN_KEYS) or key.startswith((_ORDER, _DELETE_VALUES)))
        }
    if isinstance(value, list):
        return [
            _without_directives(item)
            for item in value
            if not (isinstance(item, dict) and item.get(_PATCH) in ("delete", "replace"))
        ]
    return value

"""
Merging an applied configuration into the live object: maps by key, lists by their items' keys, atomic values whole.

Source: structured-merge-diff, typed (merge.go): the order of list items follows it.
"""

from typing import Any

from cluster.machinery import field_sets
from cluster.machinery.objects import Object
from cluster.machinery.shapes import Shape


def merge(shape: Shape, live: Object, applied: Object) -> Object:
    """A new object; parts of both arguments are shared."""
    return _merge_map(shape, live, applied)


def _merge_value(shape: Shape, live: Any, applied: Any) -> Any:
    if not field_sets.is_granular(shape, applied) or not field_sets.is_granular(shape, live):
        return applied
    if isinstance(applied, dict):
        return _merge_map(shape, live, applied) if isinstance(live, dict) else applied
    return _merge_list(shape, live, applied)


def _merge_map(shape: Shape, live: Object, applied: Object) -> Object:
    merged = dict(live)
    for key, value in applied.items():
        merged[key] = _merge_value(shape.child(key), live[key], value) if key in live else value
    return merged


def _merge_list(shape: Shape, live: list[Any], applied: list[Any]) -> list[Any]:
    """
    Items only the live list has stay where they are; shared ones come in the applied order, new ones where they stand.
    """
    left, right = field_sets.items_by_key(shape, live), field_sets.items_by_key(shape, applied)
    left_keys, right_keys = list(left), list(right)
    merged: list[Any] = []
    at_left = at_right = 0
    while at_left < len(left_keys) or at_right < len(right_keys):
        mine = left_keys[at_left] if at_left < len(left_keys) else None
        if mine is not None and mine not in right:
            merged.append(left[mine])
            at_left += 1
            continue
        upcoming = next((key for key in right_keys[at_right:] if key in left), None)
        if mine is not None and mine != upcoming:
            at_left += 1  # shared, but its place is another one in the applied order
            continue
        key = right_keys[at_right]
        merged.append(_merge_value(shape.element, left[key], right[key]) if key in left else right[key])
        at_right += 1
        if key == mine:
            at_left += 1
    return merged

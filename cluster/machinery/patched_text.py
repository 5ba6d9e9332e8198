"""
A patched object as upstream prints it when it is no valid object: the order of keys tells what the patch touched.

Upstream's patch library keeps untouched parts as the bytes they were, in the order of Go's struct fields; maps that it
opened come out sorted.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from cluster.machinery.shapes import ANY, Shape

Touched = dict[str, Any]
"""The maps and lists that a patch went through: by key or index, what was touched below."""


def touched_by(patch: Any) -> Touched:
    """Of a JSON patch (a list of operations) or a merge patch (a map)."""
    if isinstance(patch, Mapping):
        return {key: touched_by(value) for key, value in patch.items() if isinstance(value, Mapping)}
    touched: Touched = {}
    for operation in patch:
        for name in ("path", "from"):
            level = touched
            for part in str(operation.get(name, "")).split("/")[1:-1]:
                level = level.setdefault(part.replace("~1", "/").replace("~0", "~"), {})
    return touched


def as_json(shape: Shape, obj: Any, patch: Any) -> str:
    """The object in one line, `<`, `>` and `&` escaped as Go does."""
    text = orjson.dumps(_ordered(shape, obj, touched_by(patch))).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _ordered(shape: Shape, value: Any, touched: Touched | None) -> Any:
    if isinstance(value, list):
        element = shape.element if shape.kind == "list" else ANY
        return [_ordered(element, item, (touched or {}).get(str(index))) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    keys = sorted(value)
    if touched is None and shape.kind == "object":
        ranks = {name: rank for rank, name in enumerate(shape.fields)}
        keys.sort(key=lambda name: ranks.get(name, len(ranks)))
    return {key: _ordered(shape.child(key), value[key], (touched or {}).get(key)) for key in keys}

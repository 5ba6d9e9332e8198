"""
JSON texts as values, with the limits and the duplicate keys that orjson does not tell about.
"""

import json
from typing import Any

import orjson

from cluster.machinery import go_json
from cluster.machinery.objects import Object

DEPTH_LIMIT = 200
"""Nesting. Go allows 10,000; no real object needs more than 40, and ours is walked recursively."""

# Escapes that make counting `":` unreliable.
_ODD_ESCAPES = (b"\\u0022", b"\\u003a", b"\\u003A")


def load(data: bytes) -> tuple[Any, list[str]]:
    """Any JSON value, and its duplicate keys. Raises ValueError with Go's text."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as fault:
        raise ValueError(go_json.syntax_error(data) or str(fault)) from None
    if data.count(b"{") + data.count(b"[") > DEPTH_LIMIT and is_too_deep(value):
        raise ValueError("exceeded max depth")
    return value, _duplicate_fields(data, value)


def go_kind(value: Any) -> str:
    """How Go's errors call a JSON value."""
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def is_too_deep(value: Any) -> bool:
    """Nested deeper than DEPTH_LIMIT? Level by level instead of recursively: the depth is what is in question."""
    level = [value]
    for _ in range(DEPTH_LIMIT + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(child for child in item.values() if isinstance(child, (dict, list)))
            elif isinstance(item, list):
                below.extend(child for child in item if isinstance(child, (dict, list)))
        if not below:
            return False
        level = below
    return True


def _duplicate_fields(data: bytes, value: Any) -> list[str]:
    """
    Paths of keys that occur twice in one object.

    orjson keeps the last one silently. Its output has one `":` a key that is left, so the same count in the
    input proves that none was lost; only otherwise the body is read again, slowly, with every pair in view.
    """
    if data.count(b'":') == orjson.dumps(value).count(b'":') and not _is_oddly_spelt(data):
        return []
    repeated: dict[int, list[str]] = {}
    kept = []

    def build(pairs: list[tuple[str, Any]]) -> Object:
        built = dict(pairs)
        if len(built) != len(pairs):
            seen: set[str] = set()
            repeated[id(built)] = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
            kept.append(built)
        return built

    tree = json.loads(data, object_pairs_hook=build)
    return _duplicate_paths(tree, "", repeated) if repeated else []


def _is_oddly_spelt(data: bytes) -> bool:
    """Whether counting `":` may mislead: rare, and then the slow, exact way is taken."""
    if b" :" in data or b"\n:" in data or b"\t:" in data or b"\r:" in data:
        return True
    return b"\\u00" in data and any(odd in data for odd in _ODD_ESCAPES)


def _duplicate_paths(value: Any, path: str, repeated: dict[int, list[str]]) -> list[str]:
    found = []
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        found += [f'duplicate field "{prefix}{key}"' for key in dict.fromkeys(repeated.get(id(value), ()))]
        for key, child in value.items():
            if isinstance(child, (dict, list)):
                found += _duplicate_paths(child, prefix + key, repeated)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            if isinstance(child, (dict, list)):
                found += _duplicate_paths(child, f"{path}[{index}]", repeated)
    return found

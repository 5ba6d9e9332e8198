"""
JSON Patch (RFC 6902), with upstream's limits and its two liberties: negative indexes, no patch of the whole document.

Source: apiserver, pkg/endpoints/handlers/patch.go. Which operation failed is never told to the client there either.
"""

from typing import Any

import orjson

from cluster.machinery import json_document
from cluster.machinery.json_document import go_kind
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import BadRequest, Invalid, RequestEntityTooLarge

OPERATION_LIMIT = 10_000
COPY_LIMIT = 3 * 1024 * 1024
"""Bytes that all `copy` operations of a patch may add together."""


class _Inapplicable(Exception):
    """An operation that cannot be done on this document."""


def apply(doc: Object, ops: Any) -> Object:
    """
    The patched document; `doc` stays as it is.

    Raises:
        BadRequest: `ops` is not a list of operations.
        RequestEntityTooLarge: too many operations.
        Invalid: an operation does not apply, or its test fails.
    """
    operations = _checked(ops)
    patched: Any = copy_object(doc)
    copied = 0
    try:
        for operation in operations:
            if operation.get("op") == "copy":
                copied += len(orjson.dumps(_get(patched, _pointer(operation, "from"))))
                if copied > COPY_LIMIT:
                    raise _Inapplicable
            _apply_one(patched, operation)
        # The one patch that can nest deeper with every request; nobody may make an object that cannot be written.
        if json_document.is_too_deep(patched):
            raise _Inapplicable
    except _Inapplicable:
        raise Invalid("the server rejected our request due to an error in our request", details={}) from None
    result: Object = patched
    return result


def _checked(ops: Any) -> list[Object]:
    where = "Go value of type []handlers.jsonPatchOp"
    if not isinstance(ops, list):
        raise BadRequest(f"error decoding patch: json: cannot unmarshal {go_kind(ops)} into {where}")
    if len(ops) > OPERATION_LIMIT:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {OPERATION_LIMIT}, got {len(ops)}"
        )
    for operation in ops:
        if not isinstance(operation, dict):
            raise BadRequest(
                f"error decoding patch: json: cannot unmarshal {go_kind(operation)} into "
                "Go value of type handlers.jsonPatchOp"
            )
    return ops


def _apply_one(doc: Any, operation: Object) -> None:
    path = _pointer(operation, "path")
    match operation.get("op"):
        case "add":
            _add(doc, path, operation.get("value"))
        case "remove":
            _remove(doc, path)
        case "replace":
            _replace(doc, path, operation.get("value"))
        case "move":
            value = _get(doc, _pointer(operation, "from"))
            _remove(doc, _pointer(operation, "from"))
            _add(doc, path, value)
        case "copy":
            _add(doc, path, _copy(_get(doc, _pointer(operation, "from"))))
        case "test":
            _test(doc, path, operation.get("value"))
        case _:
            raise _Inapplicable


def _copy(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


def _pointer(operation: Object, name: str) -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _Inapplicable
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(doc: Any, path: list[str]) -> Any:
    value = doc
    for part in path:
        if isinstance(value, dict):
            if part not in value:
                raise _Inapplicable
            value = value[part]
        elif isinstance(value, list):
            value = value[_index(part, len(value) - 1)]
        else:
            raise _Inapplicable
    return value


def _parent(doc: Any, path: list[str]) -> Any:
    if not path:
        raise _Inapplicable
    parent = _get(doc, path[:-1])
    if not isinstance(parent, (dict, list)):
        raise _Inapplicable
    return parent


def _index(part: str, highest: int) -> int:
    """0 to highest; negative ones count from the end."""
    digits = part.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (len(digits) > 1 and digits[0] == "0") or len(digits) > 9:
        raise _Inapplicable
    index = int(part)
    if index < 0:
        index += highest + 1
    if not 0 <= index <= highest:
        raise _Inapplicable
    return index


def _add(doc: Any, path: list[str], value: Any) -> None:
    parent, last = _parent(doc, path), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    else:
        parent.insert(_index(last, len(parent)), value)


def _remove(doc: Any, path: list[str]) -> None:
    parent, last = _parent(doc, path), path[-1]
    if isinstance(parent, list):
        del parent[_index(last, len(parent) - 1)]
    elif last in parent:
        del parent[last]
    else:
        raise _Inapplicable


def _replace(doc: Any, path: list[str], value: Any) -> None:
    parent, last = _parent(doc, path), path[-1]
    if isinstance(parent, list):
        parent[_index(last, len(parent) - 1)] = value
    elif last in parent:
        parent[last] = value
    else:
        raise _Inapplicable


def _test(doc: Any, path: list[str], expected: Any) -> None:
    try:
        found = _get(doc, path)
    except _Inapplicable:
        if expected is None:
            return  # upstream lets a test for null pass on what is not there
        raise
    if not _equal(found, expected):
        raise _Inapplicable


def _equal(left: Any, right: Any) -> bool:
    """As JSON: 1 and 1.0 are one number, but true is none."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)

"""
The decode door: every request body becomes an object here and nowhere else.

JSON, YAML and the protobuf envelope. What a hostile body can do is limited before anything is built from it:
bytes, nesting, aliases, nodes. Duplicate keys are reported, not refused: the caller knows the field validation.
Source: k8s.io/apimachinery, pkg/runtime/serializer; apiserver, pkg/endpoints/handlers/rest.go.
"""

import json
from typing import Any, NamedTuple

import orjson

from cluster.machinery import go_json
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes, upstream's limit of a request body."""
DEPTH_LIMIT = 200
"""Nesting. Go allows 10,000; no real object needs more than 40, and ours is walked recursively."""

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPTED = (JSON, YAML, PROTOBUF)
_TYPE_META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
_SUMMARY = 30
# Spellings that make counting `":` unreliable; rare, and then the slow, exact way is taken.
_ODD_SPELLINGS = (b" :", b"\n:", b"\t:", b"\r:", b"\\u0022", b"\\u003a", b"\\u003A")


class Decoded(NamedTuple):
    obj: Object
    duplicates: list[str]
    """One strict fault a duplicate key, in upstream's words: `duplicate field "spec.x"`."""


def media_type(content_type: str) -> str:
    """Without parameters, lower-case; no header at all means JSON."""
    return content_type.partition(";")[0].strip().lower() or JSON


def unsupported(accepted: tuple[str, ...] = ACCEPTED) -> UnsupportedMediaType:
    listed = ", ".join(accepted)
    return UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {listed}"
    )


def too_large(limit: int = BODY_LIMIT) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"Request entity too large: limit is {limit}")


def decode_body(data: bytes, content_type: str, kind: str = "") -> Decoded:
    """
    An object from a request body.

    Args:
        kind: what is expected here, for the error text only.

    Raises:
        BadRequest: the body is not an object of this encoding.
        UnsupportedMediaType: the encoding is not one of ours.
        RequestEntityTooLarge: more than BODY_LIMIT.
    """
    media = media_type(content_type)
    if media not in ACCEPTED:
        raise unsupported()
    if len(data) > BODY_LIMIT:
        raise too_large()
    try:
        if media == PROTOBUF:
            from cluster.machinery import protobuf  # its table costs 2 ms, which only protobuf clients shall pay

            return Decoded(protobuf.decode_envelope(data), [])
        value, duplicates = decode_yaml(data) if media == YAML else decode_json(data)
        if not isinstance(value, dict):
            raise ValueError(f"json: cannot unmarshal {go_kind(value)} into Go value of type {_TYPE_META}")
    except ValueError as fault:
        why = str(fault) if media == PROTOBUF else f"couldn't get version/kind; json parse error: {fault}"
        if str(fault).startswith("error converting YAML"):
            why = str(fault)
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): {why} ({_summary(data)})"
        ) from None
    return Decoded(value, duplicates)


def decode_json(data: bytes) -> tuple[Any, list[str]]:
    """Any JSON value, and its duplicate keys. Raises ValueError with Go's text."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as fault:
        raise ValueError(go_json.syntax_error(data) or str(fault)) from None
    if data.count(b"{") + data.count(b"[") > DEPTH_LIMIT and _too_deep(value):
        raise ValueError("exceeded max depth")
    return value, _duplicate_fields(data, value)


def decode_yaml(data: bytes) -> tuple[Any, list[str]]:
    """The first document of a YAML stream, and its duplicate keys. Raises ValueError with upstream's text."""
    if data[:1] == b"{":
        # Most "YAML" is JSON: apply patches of kubectl and client-go.
        try:
            return decode_json(data)
        except ValueError:
            pass  # `{a: b}` is YAML all the same
    from cluster.machinery import yaml_document  # PyYAML is only needed for real YAML

    return yaml_document.load(data, DEPTH_LIMIT)


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


def _summary(data: bytes) -> str:
    """The head of the body: as text when it looks like JSON, else in hex."""
    if not data:
        return "<empty>"
    more = " ..." if len(data) > _SUMMARY else ""
    head = data[:_SUMMARY]
    return (head.decode(errors="replace") if data[:1] == b"{" else head.hex()) + more


def _too_deep(value: Any) -> bool:
    """Level by level instead of recursively: the depth is what is in question."""
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
    if data.count(b'":') == orjson.dumps(value).count(b'":') and not any(odd in data for odd in _ODD_SPELLINGS):
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

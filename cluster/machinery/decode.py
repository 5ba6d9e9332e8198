"""
The decode door: every request body becomes an object here and nowhere else.

JSON, YAML and the protobuf envelope. What a hostile body can do is limited before anything is built from it:
bytes, nesting, aliases, nodes. Duplicate keys are reported, not refused: the caller knows the field validation.
Source: k8s.io/apimachinery, pkg/runtime/serializer; apiserver, pkg/endpoints/handlers/rest.go.
"""

from typing import Any, NamedTuple

from cluster.machinery import json_document
from cluster.machinery.json_document import DEPTH_LIMIT, go_kind as go_kind
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes, upstream's limit of a request body."""
JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPTED = (JSON, YAML, PROTOBUF)
_TYPE_META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
_SUMMARY = 30


class Decoded(NamedTuple):
    obj: Object
    duplicates: list[str]
    """One strict fault a duplicate key, in upstream's words: `duplicate field "spec.x"`."""


def media_type(content_type: str) -> str:
    """Without parameters, lower-case; no header at all means JSON, parameters alone mean nothing."""
    return content_type.partition(";")[0].strip().lower() if content_type else JSON


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


decode_json = json_document.load
"""Any JSON value, and its duplicate keys. Raises ValueError with Go's text."""


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


def _summary(data: bytes) -> str:
    """The head of the body: as text when it looks like JSON, else in hex."""
    if not data:
        return "<empty>"
    more = " ..." if len(data) > _SUMMARY else ""
    head = data[:_SUMMARY]
    return (head.decode(errors="replace") if data[:1] == b"{" else head.hex()) + more

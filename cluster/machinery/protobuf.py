"""
Protobuf bodies as JSON objects: what client-go's typed clients send for built-in kinds.

Only decoding: answers are always JSON. The envelope is the four bytes `k8s\\0` and a runtime.Unknown; the table of
fields is `cluster.machinery.messages`. Go writes every scalar that is no pointer, so a zero there means absent.
Source: k8s.io/apimachinery, pkg/runtime/serializer/protobuf.
"""

import base64
import functools
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from cluster.machinery import json_document, messages, timestamps
from cluster.machinery.json_document import DEPTH_LIMIT
from cluster.machinery.messages import MessageField
from cluster.machinery.objects import Object

MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_UNEXPECTED_END = "unexpected EOF"
_ITEM_LISTS = ("ExtraValue", "Verbs")
_RAW_JSON = ("runtime.RawExtension", "meta.v1.FieldsV1", "apiextensions.v1.JSON")
_ABSENT: Any = object()


class ProtobufError(ValueError):
    """The bytes are no message of this kind."""


class _Value(NamedTuple):
    """One field as it is on the wire: a number, or the range of its bytes."""

    number: int
    wire_type: int
    integer: int
    start: int
    end: int


def decode_envelope(data: bytes) -> Object:
    """The object in an envelope, its apiVersion and kind set. Raises ProtobufError or ValueError."""
    if data[:4] != MAGIC:
        shown = " ".join(str(byte) for byte in MAGIC)
        raise ProtobufError(
            f"provided data does not appear to be a protobuf message, expected prefix [{shown}]"
            if data
            else "empty data"
        )
    api_version = kind = content_type = ""
    raw = (4, 4)
    for value in _values(data, 4, len(data)):
        if value.number == 1:
            meta = {inner.number: _text(data, inner) for inner in _values(data, *_range(value))}
            api_version, kind = meta.get(1, ""), meta.get(2, "")
        elif value.number == 2:
            raw = _range(value)
        elif value.number == 4:
            content_type = _text(data, value)
    if content_type.startswith("application/json"):
        obj, _ = json_document.load(data[raw[0] : raw[1]])
        if not isinstance(obj, dict):
            raise ProtobufError("the envelope's JSON is not an object")
    else:
        obj = decode_message(message_of(api_version, kind), data, *raw)
    return {"apiVersion": api_version, "kind": kind, **obj}


def message_of(api_version: str, kind: str) -> str:
    """The message of a kind: `apps/v1`, `Deployment` -> `apps.v1.Deployment`. Raises ProtobufError."""
    group, _, version = api_version.rpartition("/")
    package = group.partition(".")[0] or "core"
    for name in (f"{package}.{version}.{kind}", f"meta.v1.{kind}"):
        if messages.is_known(name):
            return name
    raise ProtobufError(
        f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    )


def decode_message(message: str, data: bytes, start: int = 0, end: int | None = None, depth: int = 0) -> Object:
    """A message of the table as a JSON object. Raises ProtobufError."""
    if depth > DEPTH_LIMIT:
        raise ProtobufError("exceeded max depth")
    fields = _by_number(message)
    found: Object = {}
    for value in _values(data, start, len(data) if end is None else end):
        field = fields.get(value.number)
        if field is None:
            continue  # of a newer client; upstream drops it too
        if field.many == "list":
            found.setdefault(field.name, []).extend(_items(field.type, data, value, depth))
        elif field.many == "map":
            key, item = _map_entry(field.type, data, value, depth)
            found.setdefault(field.name, {})[key] = item
        else:
            decoded = _decode(field.type, data, value, depth)
            if field.inline:
                found |= decoded
            elif decoded is not _ABSENT and (field.pointer or not _is_zero(decoded)):
                found[field.name] = decoded
    return found


@functools.cache
def _by_number(message: str) -> dict[int, MessageField]:
    return {field.number: field for field in messages.fields_of(message)}


def _is_zero(decoded: Any) -> bool:
    """Of a scalar: Go would not write it. An empty object stays, it is a struct."""
    return not decoded and not isinstance(decoded, dict)


def _items(kind: str, data: bytes, value: _Value, depth: int) -> Iterator[Any]:
    """The items that one occurrence of a repeated field brings: one, or many when they are packed."""
    if value.wire_type == _LENGTH and kind in ("int32", "int64", "bool"):
        position, end = _range(value)
        while position < end:
            number, position = _varint(data, position, end)
            yield bool(number) if kind == "bool" else _signed(number, kind)
        return
    decoded = _decode(kind, data, value, depth)
    yield None if decoded is _ABSENT else decoded


def _map_entry(kind: str, data: bytes, value: _Value, depth: int) -> tuple[str, Any]:
    key, item = "", _zero(kind)
    for inner in _values(data, *_range(value)):
        if inner.number == 1:
            key = _text(data, inner)
        elif inner.number == 2:
            decoded = _decode(kind, data, inner, depth)
            item = None if decoded is _ABSENT else decoded
    return key, item


def _zero(kind: str) -> Any:
    match kind:
        case "string" | "bytes":
            return ""
        case "bool":
            return False
        case "int32" | "int64" | "double":
            return 0
        case "Quantity":
            return "0"
        case _:
            return [] if kind.rpartition(".")[2] in _ITEM_LISTS else {}


def _decode(kind: str, data: bytes, value: _Value, depth: int) -> Any:
    match kind:
        case "string":
            return _text(data, value)
        case "int32" | "int64":
            return _signed(_integer(value), kind)
        case "bool":
            return bool(_integer(value))
        case "bytes":
            return base64.b64encode(_bytes(data, value)).decode()
        case "double":
            return _double(data, value)
        case _:
            return _decode_message_value(kind, data, value, depth)


def _decode_message_value(kind: str, data: bytes, value: _Value, depth: int) -> Any:
    start, end = _range(value)
    match kind:
        case "Quantity":
            return next((_text(data, inner) for inner in _values(data, start, end) if inner.number == 1), "0") or "0"
        case "IntOrString":
            return _int_or_string(data, start, end)
        case "meta.v1.Time" | "meta.v1.MicroTime":
            return _time(data, start, end, micro=kind == "meta.v1.MicroTime")
        case "meta.v1.Duration":
            return _duration(_single_integer(data, start, end))
        case _ if kind in _RAW_JSON:
            return _raw(data, start, end)
        case _ if kind.rpartition(".")[2] in _ITEM_LISTS:
            return [_text(data, inner) for inner in _values(data, start, end) if inner.number == 1]
        case _:
            pass
    decoded = decode_message(kind, data, start, end, depth + 1)
    return _union(kind, decoded) if kind.startswith("apiextensions.v1.JSONSchemaPropsOr") else decoded


def _union(kind: str, decoded: Object) -> Any:
    """A schema, or instead of it a list or a boolean: JSON has no wrapper for the choice."""
    if "schema" in decoded:
        return decoded["schema"]
    match kind.rpartition("Or")[2]:
        case "Bool":
            return decoded.get("allows", False)
        case "Array" if kind.endswith("StringArray"):
            return decoded.get("property", [])
        case _:
            return decoded.get("jSONSchemas", [])


def _int_or_string(data: bytes, start: int, end: int) -> int | str:
    is_text, number, text = 0, 0, ""
    for inner in _values(data, start, end):
        if inner.number == 1:
            is_text = _integer(inner)
        elif inner.number == 2:
            number = _signed(_integer(inner), "int32")
        elif inner.number == 3:
            text = _text(data, inner)
    return text if is_text else number


def _time(data: bytes, start: int, end: int, *, micro: bool) -> Any:
    if start == end:
        return _ABSENT  # Go's zero time has no content
    seconds = nanos = 0
    for inner in _values(data, start, end):
        if inner.number == 1:
            seconds = _signed(_integer(inner), "int64")
        elif inner.number == 2:
            nanos = _signed(_integer(inner), "int32")
    try:
        moment = timestamps.from_unix(seconds, nanos)
    except OverflowError:
        raise ProtobufError(f"time {seconds} is out of range") from None
    return timestamps.format_micro_time(moment) if micro else timestamps.format_time(moment)


def _single_integer(data: bytes, start: int, end: int) -> int:
    return next((_signed(_integer(inner), "int64") for inner in _values(data, start, end) if inner.number == 1), 0)


def _duration(nanos: int) -> str:
    """As Go prints a duration of whole seconds; fractions in seconds."""
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    seconds, fraction = divmod(nanos, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    shown = f"{seconds}.{fraction:09d}".rstrip("0") if fraction else str(seconds)
    if hours:
        return f"{sign}{hours}h{minutes}m{shown}s"
    return f"{sign}{minutes}m{shown}s" if minutes else f"{sign}{shown}s"


def _raw(data: bytes, start: int, end: int) -> Any:
    """JSON inside: an embedded object, managed fields, a schema's default."""
    for inner in _values(data, start, end):
        if inner.number == 1:
            content = _bytes(data, inner)
            if content.startswith(MAGIC):
                return decode_envelope(content)
            return json_document.load(content)[0] if content else _ABSENT
    return _ABSENT


def _values(data: bytes, position: int, end: int) -> Iterator[_Value]:
    """The fields of a message in their order on the wire. Raises ProtobufError."""
    while position < end:
        tag, position = _varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ProtobufError(f"proto: illegal tag {number} (wire type {tag})")
        integer, start = 0, position
        if wire_type == _VARINT:
            integer, position = _varint(data, position, end)
        elif wire_type == _LENGTH:
            length, start = _varint(data, position, end)
            position = start + length
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        else:
            raise ProtobufError(f"proto: illegal wireType {wire_type}")
        if position > end:
            raise ProtobufError(_UNEXPECTED_END)
        yield _Value(number, wire_type, integer, start, position)


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if position >= end:
            raise ProtobufError(_UNEXPECTED_END)
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise ProtobufError("proto: integer overflow")


def _signed(number: int, kind: str) -> int:
    """Negative numbers are sign-extended to 64 bits, whatever their type."""
    number &= 2**64 - 1
    if number >= 2**63:
        number -= 2**64
    if kind == "int32":
        number = (number + 2**31) % 2**32 - 2**31
    return number


def _integer(value: _Value) -> int:
    if value.wire_type != _VARINT:
        raise ProtobufError(f"proto: wrong wireType = {value.wire_type} for field {value.number}")
    return value.integer


def _range(value: _Value) -> tuple[int, int]:
    if value.wire_type != _LENGTH:
        raise ProtobufError(f"proto: wrong wireType = {value.wire_type} for field {value.number}")
    return value.start, value.end


def _bytes(data: bytes, value: _Value) -> bytes:
    start, end = _range(value)
    return data[start:end]


def _text(data: bytes, value: _Value) -> str:
    return _bytes(data, value).decode(errors="replace")


def _double(data: bytes, value: _Value) -> float:
    if value.wire_type != _FIXED64:
        raise ProtobufError(f"proto: wrong wireType = {value.wire_type} for field {value.number}")
    number: float = struct.unpack_from("<d", data, value.start)[0]
    return number

"""JSON objects as Go's generated code writes them in protobuf: for tests of the decoder only."""

import base64
import json
from typing import Any

from cluster.machinery import messages, protobuf, timestamps
from cluster.machinery.messages import MessageField


def envelope(obj: dict[str, Any]) -> bytes:
    body = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    message = protobuf.message_of(obj["apiVersion"], obj["kind"])
    meta = block(1, block(1, obj["apiVersion"].encode()) + block(2, obj["kind"].encode()))
    return protobuf.MAGIC + meta + block(2, encode(message, body)) + block(3, b"") + block(4, b"")


def encode(message: str, obj: dict[str, Any]) -> bytes:
    return b"".join(_field(field, obj) for field in messages.fields_of(message))


def _field(field: MessageField, obj: dict[str, Any]) -> bytes:
    if field.inline:
        return block(field.number, encode(field.type, obj))
    value = obj.get(field.name)
    if field.many == "list":
        return b"".join(_single(field.number, field.type, item) for item in value or ())
    if field.many == "map":
        return b"".join(
            block(field.number, block(1, key.encode()) + _single(2, field.type, item))
            for key, item in sorted((value or {}).items())
        )
    if value is None:
        return b"" if field.pointer else _single(field.number, field.type, _ZERO.get(field.type, {}))
    return _single(field.number, field.type, value)


_ZERO: dict[str, Any] = {
    "string": "", "bytes": "", "bool": False, "int32": 0, "int64": 0, "double": 0.0, "Quantity": "0",
    "IntOrString": 0, "meta.v1.Time": None, "meta.v1.MicroTime": None,
}  # fmt: skip


def _single(number: int, kind: str, value: Any) -> bytes:
    match kind:
        case "string":
            return block(number, value.encode())
        case "bytes":
            return block(number, base64.b64decode(value))
        case "bool" | "int32" | "int64":
            return _varint(number << 3) + _varint(int(value) & (2**64 - 1))
        case "Quantity":
            return block(number, block(1, value.encode()))
        case "IntOrString":
            is_text = isinstance(value, str)
            inner = _single(1, "int64", is_text) + _single(2, "int32", 0 if is_text else value)
            return block(number, inner + block(3, value.encode() if is_text else b""))
        case "meta.v1.Time" | "meta.v1.MicroTime":
            return block(number, _time(value))
        case _ if kind.endswith((".ExtraValue", ".Verbs")):
            return block(number, b"".join(block(1, item.encode()) for item in value))
        case "runtime.RawExtension" | "meta.v1.FieldsV1" | "apiextensions.v1.JSON":
            return block(number, block(1, json.dumps(value).encode()))
        case _:
            pass
    return block(number, encode(kind, value))


def _time(value: str | None) -> bytes:
    if value is None:
        return b""
    moment = timestamps.parse_time(value)
    return _single(1, "int64", int(moment.timestamp())) + _single(2, "int32", moment.microsecond * 1000)


def block(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])

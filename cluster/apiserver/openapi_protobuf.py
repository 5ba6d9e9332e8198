"""
/openapi/v2 as protobuf: kubectl's `explain --output=plaintext-openapiv2`, and clients of years ago, take no other form.

Pure. The form of the whole API is smaller than its JSON; making it costs a tenth of what making that does.
Source of messages and numbers: google/gnostic, openapiv2/OpenAPIv2.proto.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ACCEPTED = frozenset({CONTENT_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"})

Encode = Callable[[Any], bytes]
Fields = Mapping[str, tuple[int, Encode]]
_NAMED_EXTENSION = "x-"


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, data: bytes) -> bytes:
    """One length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(value: Any) -> bytes:
    return str(value).encode()


def _any(value: Any) -> bytes:
    """Any: the value as YAML, which JSON is."""
    return _field(2, orjson.dumps(value))


def _named(name: str, value: bytes) -> bytes:
    return _field(1, name.encode()) + _field(2, value)


def _number(value: Any) -> bytes:
    """Of integers and booleans; `_message` writes these without a length."""
    return _varint(int(value))


def _message(content: Any, fields: Fields, extensions: int = 0) -> bytes:
    """`extensions`: number of the field that takes what begins with x-."""
    out = []
    for key, value in content.items():
        known = fields.get(key)
        if known is not None:
            number, encode = known
            if encode is _number:
                out.append(_varint(number << 3) + _number(value))
            elif isinstance(value, list):
                out += [_field(number, encode(one)) for one in value]
            else:
                out.append(_field(number, encode(value)))
        elif extensions and key.startswith(_NAMED_EXTENSION):
            out.append(_field(extensions, _named(key, _any(value))))
    return b"".join(out)


def _map(number: int, content: Mapping[str, Any], encode: Encode) -> bytes:
    return b"".join(_field(number, _named(name, encode(value))) for name, value in content.items())


def _schema(content: Any) -> bytes:
    return _message(content, _SCHEMA, 31)


def _properties(content: Any) -> bytes:
    return _map(1, content, _schema)


def _additional(content: Any) -> bytes:
    return _varint(2 << 3) + _number(content) if isinstance(content, bool) else _field(1, _schema(content))


def _type(content: Any) -> bytes:
    return b"".join(_field(1, _text(one)) for one in (content if isinstance(content, list) else [content]))


_SCHEMA: Fields = {
    "$ref": (1, _text), "format": (2, _text), "title": (3, _text), "description": (4, _text), "default": (5, _any),
    "maxLength": (11, _number), "minLength": (12, _number), "pattern": (13, _text), "maxItems": (14, _number),
    "minItems": (15, _number), "uniqueItems": (16, _number), "maxProperties": (17, _number),
    "minProperties": (18, _number), "required": (19, _text), "enum": (20, _any),
    "additionalProperties": (21, _additional), "items": (23, lambda content: _field(1, _schema(content))),
    "allOf": (24, _schema), "type": (22, _type), "properties": (25, _properties), "readOnly": (27, _number),
    "example": (30, _any),
}  # fmt: skip


def _parameter(content: Any) -> bytes:
    """A parameter where it is used: in the body, the query, the path or a header, each with numbers of its own."""
    if "$ref" in content:
        return _field(2, _field(1, _text(content["$ref"])))
    place = content.get("in")
    if place == "body":
        return _field(1, _field(1, _message(content, _BODY, 6)))
    if place == "query":
        found = _field(3, _message(content, _QUERY, 23))
    else:
        found = _field(4 if place == "path" else 1, _message(content, _PATH, 22))
    return _field(1, _field(2, found))


_BODY: Fields = {
    "description": (1, _text), "name": (2, _text), "in": (3, _text), "required": (4, _number), "schema": (5, _schema),
}  # fmt: skip
_QUERY: Fields = {
    "required": (1, _number), "in": (2, _text), "description": (3, _text), "name": (4, _text), "type": (6, _text),
    "format": (7, _text), "uniqueItems": (20, _number),
}  # fmt: skip
_PATH: Fields = {
    "required": (1, _number), "in": (2, _text), "description": (3, _text), "name": (4, _text), "type": (5, _text),
    "format": (6, _text), "uniqueItems": (19, _number),
}  # fmt: skip


def _response(content: Any) -> bytes:
    fields: Fields = {"description": (1, _text), "schema": (2, lambda schema: _field(1, _schema(schema)))}
    return _field(1, _message(content, fields, 5))


_OPERATION: Fields = {
    "tags": (1, _text), "summary": (2, _text), "description": (3, _text), "operationId": (5, _text),
    "produces": (6, _text), "consumes": (7, _text), "parameters": (8, _parameter),
    "responses": (9, lambda content: _map(1, content, _response)), "schemes": (10, _text), "deprecated": (11, _number),
}  # fmt: skip


def _operation(content: Any) -> bytes:
    return _message(content, _OPERATION, 13)


_PATH_ITEM: Fields = {
    "get": (2, _operation), "put": (3, _operation), "post": (4, _operation), "delete": (5, _operation),
    "options": (6, _operation), "head": (7, _operation), "patch": (8, _operation), "parameters": (9, _parameter),
}  # fmt: skip
_INFO: Fields = {"title": (1, _text), "version": (2, _text), "description": (3, _text)}
_API_KEY: Fields = {"type": (1, _text), "name": (2, _text), "in": (3, _text), "description": (4, _text)}


def _path_item(content: Any) -> bytes:
    return _message(content, _PATH_ITEM, 10)


def _words(content: Iterable[str]) -> bytes:
    return b"".join(_field(1, _text(word)) for word in content)


_DOCUMENT: Fields = {
    "swagger": (1, _text),
    "info": (2, lambda content: _message(content, _INFO, 7)),
    "paths": (8, lambda content: _map(2, content, _path_item)),
    "definitions": (9, lambda content: _map(1, content, _schema)),
    "security": (12, lambda content: _map(1, content, _words)),
    "securityDefinitions": (13, lambda content: _map(1, content, lambda key: _field(2, _message(key, _API_KEY, 5)))),
}


def encode(document: bytes) -> bytes:
    """The JSON document as `openapi.v2.Document`."""
    return _message(orjson.loads(document), _DOCUMENT, 16)


def is_wanted(accept: str) -> bool:
    """Does the client name this form, and not JSON before it?"""
    for clause in accept.split(","):
        media = clause.partition(";")[0].strip()
        if media in ACCEPTED:
            return True
        if media in ("application/json", "*/*", "application/*"):
            return False
    return False

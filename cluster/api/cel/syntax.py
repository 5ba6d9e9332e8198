"""
The tree of a checked expression, read from the engine's serialized form.

Source: github.com/google/cel-spec, proto/cel/expr/syntax.proto and checked.proto.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cluster.api.cel.values import Uint

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Const:
    id: int
    value: Any


@dataclass(frozen=True, slots=True)
class Ident:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    id: int
    operand: "Node"
    field: str
    test_only: bool


@dataclass(frozen=True, slots=True)
class Call:
    id: int
    function: str
    """With its namespace, where it has one."""
    target: "Node | None"
    args: tuple["Node", ...]
    overloads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListNode:
    id: int
    elements: tuple["Node", ...]
    optional: frozenset[int]


@dataclass(frozen=True, slots=True)
class Entry:
    key: "Node | str"
    """A field's name in a struct."""
    value: "Node"
    optional: bool


@dataclass(frozen=True, slots=True)
class StructNode:
    id: int
    name: str
    """Empty for a map."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Comprehension:
    id: int
    iter_var: str
    iter_var2: str
    range: "Node"
    accu: str
    init: "Node"
    condition: "Node"
    step: "Node"
    result: "Node"


Node = Const | Ident | Select | Call | ListNode | StructNode | Comprehension


@dataclass(slots=True)
class Checked:
    root: Node
    positions: dict[int, int] = field(default_factory=dict)
    """Of nodes by id: the offset in the text, in characters."""


def read_checked(data: bytes) -> Checked:
    """From `Expression.serialize()`."""
    message = dict(_fields(next(value for number, value in _fields(data) if number == 2)))
    body = list(_fields(next(value for number, value in _fields(data) if number == 2)))
    references: dict[int, tuple[str, tuple[str, ...]]] = {}
    for number, value in body:
        if number == 2:
            entry = dict(_fields(value))
            reference = list(_fields(entry.get(2, b"")))
            name = next((found.decode() for at, found in reference if at == 1), "")
            references[entry.get(1, 0)] = name, tuple(found.decode() for at, found in reference if at == 3)
    positions = {}
    for number, value in _fields(message.get(5, b"")):
        if number == 4:
            entry = dict(_fields(value))
            positions[entry.get(1, 0)] = entry.get(2, 0)
    return Checked(_Reader(references).node(message[4]), positions)


def read_parsed(data: bytes) -> Node:
    """Likewise, of an expression that was not checked."""
    message = dict(_fields(next(value for number, value in _fields(data) if number == 2)))
    return _Reader({}).node(message[2])


class _Reader:
    def __init__(self, references: dict[int, tuple[str, tuple[str, ...]]]) -> None:
        self._references = references

    def node(self, data: bytes) -> Node:
        fields = list(_fields(data))
        one = dict(fields)
        at = one.get(2, 0)
        for number, value in fields:
            match number:
                case 3:
                    return Const(at, _constant(value))
                case 4:
                    name = dict(_fields(value)).get(1, b"").decode()
                    return Ident(at, self._references.get(at, (name,))[0] or name)
                case 5:
                    parts = dict(_fields(value))
                    if at in self._references and self._references[at][0] and not parts.get(3):
                        return Ident(at, self._references[at][0])
                    operand = self.node(parts[1])
                    return Select(at, operand, parts.get(2, b"").decode(), bool(parts.get(3)))
                case 6:
                    return self._call(at, value)
                case 7:
                    return self._list(at, value)
                case 8:
                    return self._struct(at, value)
                case 9:
                    return self._comprehension(at, value)
                case _:
                    continue
        raise ValueError("the expression has a node of an unknown kind")

    def _call(self, at: int, data: bytes) -> Call:
        fields = list(_fields(data))
        one = dict(fields)
        function = one[2].decode()
        target = self.node(one[1]) if 1 in one else None
        name, overloads = self._references.get(at, ("", ()))
        if target is not None and name.endswith(f".{function}") and name != function:
            function, target = name, None  # a namespace, no value
        return Call(at, function, target, tuple(self.node(value) for key, value in fields if key == 3), overloads)

    def _list(self, at: int, data: bytes) -> ListNode:
        fields = list(_fields(data))
        optional: set[int] = set()
        for number, value in fields:
            if number == 2:
                optional |= {value} if isinstance(value, int) else set(_packed(value))
        return ListNode(at, tuple(self.node(value) for key, value in fields if key == 1), frozenset(optional))

    def _struct(self, at: int, data: bytes) -> StructNode:
        fields = list(_fields(data))
        entries = []
        for number, value in fields:
            if number == 2:
                parts = dict(_fields(value))
                key: Node | str = parts[2].decode() if 2 in parts else self.node(parts[3])
                entries.append(Entry(key, self.node(parts[4]), bool(parts.get(5))))
        return StructNode(at, dict(fields).get(1, b"").decode(), tuple(entries))

    def _comprehension(self, at: int, data: bytes) -> Comprehension:
        parts = dict(_fields(data))
        names = [parts.get(number, b"").decode() for number in (1, 8, 3)]
        range_, init, condition, step, result = (self.node(parts[number]) for number in (2, 4, 5, 6, 7))
        return Comprehension(at, names[0], names[1], range_, names[2], init, condition, step, result)


def _constant(data: bytes) -> Any:
    for number, value in _fields(data):
        match number:
            case 1:
                return None
            case 2:
                return bool(value)
            case 3:
                return value - 2**64 if value >= 2**63 else value
            case 4:
                return Uint(value)
            case 5:
                return struct.unpack("<d", value)[0]
            case 6:
                return value.decode()
            case 7:
                return bytes(value)
            case _:
                continue
    return None


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        value: Any
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _LENGTH:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            length = 8 if wire == _FIXED64 else 4
            value, at = data[at : at + length], at + length
        yield key >> 3, value


def _packed(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

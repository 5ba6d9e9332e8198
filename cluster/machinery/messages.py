"""
The message table: number, name and type of every field that travels in protobuf.

`tables/messages.json` has a row a field, `number name type`; the type may start with `ptr` (absent and zero differ),
`inline` (its fields belong to the parent), `list` or `map` (from text). Interface facts of Kubernetes 1.36; rows are
only ever appended.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import orjson


class MessageField(NamedTuple):
    number: int
    name: str
    """The JSON name."""
    type: str
    """A scalar (`string`, `bool`, `int32`, `int64`, `double`, `bytes`) or a message, e.g. `core.v1.Pod`."""
    many: str = ""
    """`list`, `map` or empty."""
    pointer: bool = False
    inline: bool = False


@functools.cache
def _rows() -> dict[str, list[str]]:
    rows: dict[str, list[str]] = orjson.loads((Path(__file__).parent / "tables" / "messages.json").read_bytes())
    return rows


def is_known(message: str) -> bool:
    return message in _rows()


@functools.cache
def fields_of(message: str) -> tuple[MessageField, ...]:
    """Fields in the table's order. Raises KeyError for a message that is not in the table."""
    return tuple(_parse(row) for row in _rows()[message])


def _parse(row: str) -> MessageField:
    number, name, *words = row.split(" ")
    return MessageField(
        int(number),
        name,
        words[-1],
        many=next((word for word in words[:-1] if word in ("list", "map")), ""),
        pointer="ptr" in words[:-1],
        inline="inline" in words[:-1],
    )


def flattened(message: str) -> dict[str, MessageField]:
    """By JSON name, inlined messages' fields among them: how the JSON object looks."""
    found: dict[str, MessageField] = {}
    for field in fields_of(message):
        if field.inline:
            found |= flattened(field.type)
        else:
            found[field.name] = field
    return found

"""
What goes through a tunnel: many connections in one, each a stream with a number. Pure.

    0       1               5
    | kind  | stream number | content …

One frame is one binary message of a WebSocket. The federation opens streams, the member never does. Each side may send
as much as the other has given it credit for, so no stream is kept waiting by one whose reader is slow.
"""

import struct
from dataclasses import dataclass

OPEN, DATA, END, RESET, CREDIT = 1, 2, 3, 4, 5
"""Begin; bytes; no more bytes from me; it is over, for both; so many bytes more may come (uint32)."""
WINDOW = 256 << 10
"""Bytes that may be on the way in each direction of a stream; the credit that both sides begin with."""
CHUNK = 32 << 10
"""Bytes of one DATA at most: streams take turns."""
STREAMS = 256
"""At once in one tunnel."""
_HEAD = struct.Struct("!BI")
_CREDIT = struct.Struct("!I")
LONGEST = _HEAD.size + CHUNK
_EMPTY = frozenset({OPEN, END, RESET})


class FrameError(Exception):
    """The other side does not keep to the form. The tunnel ends; nothing else helps."""


@dataclass(frozen=True, slots=True)
class Frame:
    kind: int
    stream: int
    data: bytes = b""
    credit: int = 0


def encode(frame: Frame) -> bytes:
    if frame.kind == CREDIT:
        return _HEAD.pack(CREDIT, frame.stream) + _CREDIT.pack(frame.credit)
    return _HEAD.pack(frame.kind, frame.stream) + frame.data


def decode(message: bytes) -> Frame:
    """Raises FrameError."""
    if not _HEAD.size <= len(message) <= LONGEST:
        raise FrameError(f"a frame has {_HEAD.size} to {LONGEST} bytes, not {len(message)}")
    kind, stream = _HEAD.unpack_from(message)
    rest = message[_HEAD.size :]
    if kind == DATA and rest:
        return Frame(DATA, stream, rest)
    if kind == CREDIT and len(rest) == _CREDIT.size:
        return Frame(CREDIT, stream, credit=_CREDIT.unpack(rest)[0])
    if kind in _EMPTY and not rest:
        return Frame(kind, stream)
    raise FrameError(f"there is no frame of kind {kind} with {len(rest)} bytes of content")

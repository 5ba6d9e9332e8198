"""
HTTP/2 frames: bytes to (type, flags, stream, payload) and back. Pure.

Source: RFC 9113 sections 4 and 6.
"""

import struct

from cluster.machinery.grpc.errors import ProtocolError

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, _, _, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = range(9)
ENHANCE_YOUR_CALM = 0xB

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_SIZE = 16_384
MAX_WINDOW = 2**31 - 1
MAX_STREAM_ID = 2**31 - 1

_HEADER_SIZE = 9
_read_header = struct.Struct(">HBBBL").unpack_from
_write_header = struct.Struct(">HBBBL").pack
_read_number = struct.Struct(">L").unpack_from
_read_setting = struct.Struct(">HL").iter_unpack

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream, payload."""


class FrameReader:
    """Cuts what a socket gives into frames. Holds at most one unfinished frame."""

    def __init__(self, max_size: int = DEFAULT_FRAME_SIZE) -> None:
        self._max_size = max_size
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole with `data`. Raises ProtocolError for a frame above the announced size."""
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        at, end = 0, len(data)
        while end - at >= _HEADER_SIZE:
            high, low, kind, flags, stream = _read_header(data, at)
            size = high << 8 | low
            if size > self._max_size:
                raise ProtocolError(
                    FRAME_SIZE_ERROR, f"a frame of {size} bytes came; {self._max_size} is the most that was announced"
                )
            start = at + _HEADER_SIZE
            stop = start + size
            if stop > end:
                break
            frames.append((kind, flags, stream & MAX_STREAM_ID, data[start:stop]))
            at = stop
        self._rest = data[at:]
        return frames


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return _write_header(size >> 8, size & 0xFF, kind, flags, stream) + payload


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, error_code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, error_code.to_bytes(4, "big"))


def go_away(error_code: int, why: str) -> bytes:
    return frame(GOAWAY, 0, 0, bytes(4) + error_code.to_bytes(4, "big") + why.encode()[:200])


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", name, value) for name, value in values.items()))


def number(payload: bytes) -> int:
    """What WINDOW_UPDATE and RST_STREAM carry. Raises ProtocolError when it is not four bytes."""
    if len(payload) != 4:
        raise ProtocolError(FRAME_SIZE_ERROR, f"a frame that holds a number has {len(payload)} bytes instead of 4")
    found: int = _read_number(payload)[0]
    return found


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Name and value of each. Raises ProtocolError for values that nobody may send."""
    if len(payload) % 6:
        raise ProtocolError(FRAME_SIZE_ERROR, f"a SETTINGS frame has {len(payload)} bytes, no multiple of 6")
    found: list[tuple[int, int]] = list(_read_setting(payload))
    for name, value in found:
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ProtocolError(FLOW_CONTROL_ERROR, f"the initial window {value} is above {MAX_WINDOW}")
        if name == MAX_FRAME_SIZE and not DEFAULT_FRAME_SIZE <= value < 2**24:
            raise ProtocolError(PROTOCOL_ERROR, f"the frame size {value} is not between 16384 and 16777215")
        if name == ENABLE_PUSH and value:
            raise ProtocolError(PROTOCOL_ERROR, "a server announced that it accepts pushes")
    return found


def content(kind: int, flags: int, payload: bytes) -> bytes:
    """A DATA or HEADERS payload without padding and priority. Raises ProtocolError."""
    padding = 0
    if flags & PADDED:
        if not payload:
            raise ProtocolError(PROTOCOL_ERROR, "a padded frame is empty")
        padding, payload = payload[0], payload[1:]
    if kind == HEADERS and flags & WITH_PRIORITY:
        if len(payload) < 5:
            raise ProtocolError(FRAME_SIZE_ERROR, "a HEADERS frame ends inside its priority")
        payload = payload[5:]
    if padding > len(payload):
        raise ProtocolError(PROTOCOL_ERROR, f"the padding of {padding} bytes is longer than its frame")
    return payload[: len(payload) - padding]

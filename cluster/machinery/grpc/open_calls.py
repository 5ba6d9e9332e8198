"""
The calls that are open on one connection, and the sending of what they have to say.

Pure of time and sockets: what goes out is given to an outbox, what comes in is told by the connection.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterator

from cluster.machinery.grpc import frames
from cluster.machinery.grpc.calls import Call, StreamCall, framed
from cluster.machinery.grpc.errors import GrpcError, ProtocolError
from cluster.machinery.grpc.outbox import Outbox

STREAM_WINDOW = 4 << 20
_LARGEST_FRAME = 1 << 20
"""Larger ones would keep small messages waiting, whatever the other side takes."""
_frame_header = struct.Struct(">HBBBL").pack


class OpenCalls:
    """`on_end` is called after each end of a call."""

    def __init__(self, name: str, outbox: Outbox, on_end: Callable[[], None]) -> None:
        self._name = name
        self._send = outbox.send
        self._on_end = on_end
        self.accepting = True
        self._calls: dict[int, Call] = {}
        self._waiting: deque[Call] = deque()
        """For one of the streams that the other side allows."""
        self._blocked: deque[Call] = deque()
        """For the other side to make room for their data."""
        self._next_id = 1
        self._max_calls = 2**31
        self._frame_size = frames.DEFAULT_FRAME_SIZE
        self._window = frames.DEFAULT_WINDOW
        self._call_window = frames.DEFAULT_WINDOW

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        """Those on the wire and those in line; a copy."""
        return iter([*self._calls.values(), *self._waiting])

    @property
    def exhausted(self) -> bool:
        """No stream number is left."""
        return self._next_id > frames.MAX_STREAM_ID

    def get(self, stream: int) -> Call | None:
        """None when it has ended. Raises ProtocolError for a stream that we have never opened."""
        call = self._calls.get(stream)
        if call is None and (stream % 2 == 0 or stream >= self._next_id):
            raise ProtocolError(frames.PROTOCOL_ERROR, f"a frame came on stream {stream}, which nobody opened")
        return call

    def start(self, call: Call) -> None:
        if len(self._calls) >= self._max_calls:
            self._waiting.append(call)
        else:
            self._open(call)

    def _open(self, call: Call) -> None:
        stream = call.id = self._next_id
        self._next_id += 2
        call.window, call.room = self._call_window, STREAM_WINDOW
        self._calls[stream] = call
        if isinstance(call, StreamCall):
            self._bind(call)
        block = call.block
        self._send(_frame_header(0, len(block), frames.HEADERS, frames.END_HEADERS, stream) + block)
        size = len(call.unsent)
        if size <= call.window and size <= self._window and size <= self._frame_size and not self._blocked:
            self._window -= size
            call.window -= size
            flags = frames.END_STREAM if call.ends else 0
            self._send(_frame_header(size >> 8, size & 0xFF, frames.DATA, flags, stream))
            self._send(bytes(call.unsent))
            call.unsent = b""
            call.sent = True
        else:
            self._blocked.append(call)
            self._pump()

    def _bind(self, call: StreamCall) -> None:
        def send(message: bytes) -> None:
            if call.id in self._calls:
                waiting = bool(call.unsent)
                call.unsent = bytes(call.unsent) + framed(message)
                if not waiting:
                    self._blocked.append(call)
                self._pump()

        def give_room(size: int) -> None:
            if call.id in self._calls:
                self.give_room(call, size)

        def cancel() -> None:
            self.cancel(call)

        call.send, call.give_room, call.cancel = send, give_room, cancel

    def _pump(self) -> None:
        """Send what waits for room, as far as there is some."""
        stuck: list[Call] = []
        while self._blocked and self._window > 0:
            call = self._blocked.popleft()
            if call.id not in self._calls:
                continue
            data = memoryview(call.unsent)
            while data and call.window > 0 and self._window > 0:
                size = min(len(data), self._frame_size, call.window, self._window)
                self._window -= size
                call.window -= size
                call.sent = size == len(data)
                flags = frames.END_STREAM if call.ends and call.sent else 0
                self._send(frames.frame(frames.DATA, flags, call.id, bytes(data[:size])))
                data = data[size:]
            call.unsent = data
            if data:
                stuck.append(call)
        self._blocked.extendleft(reversed(stuck))

    def cancel(self, call: Call) -> None:
        """Its caller no longer wants it."""
        self.finish(call, GrpcError("CANCELLED", "the caller gave up", processed=call.sent), frames.CANCEL)

    def finish(self, call: Call, fault: GrpcError | None, error_code: int | None = None) -> None:
        """The end of one call; `error_code` is told to the other side when it still believes in the stream."""
        if call.id == 0:
            if call not in self._waiting:
                return
            self._waiting.remove(call)
        elif self._calls.pop(call.id, None) is None:
            return
        elif error_code is not None:
            self._send(frames.reset(call.id, error_code))
        call.unsent = b""
        call.ended(fault)
        if self._waiting:
            self._open_waiting()
        self._on_end()

    def finish_from_there(self, call: Call, fault: GrpcError | None) -> None:
        """The other side has ended the stream; ours is still open when we had more to say."""
        self.finish(call, fault, None if call.ends and call.sent else frames.CANCEL)

    def accept_no_more(self) -> None:
        """Those in line will not get their turn."""
        self.accepting = False
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.ended(GrpcError("UNAVAILABLE", f"the connection to {self._name} is closing", processed=False))

    def finish_all(self, fault: GrpcError) -> None:
        self._blocked.clear()
        for call in list(self._calls.values()):
            self.finish(call, GrpcError(fault.code, fault.details, processed=call.sent))

    def refuse_behind(self, last: int, why: str) -> None:
        """The other side has said that it did not look at streams after `last`."""
        for call in [call for call in self._calls.values() if call.id > last]:
            self.finish(call, GrpcError("UNAVAILABLE", why, processed=False))

    def _open_waiting(self) -> None:
        while self._waiting and self.accepting and len(self._calls) < self._max_calls:
            self._open(self._waiting.popleft())

    # What the other side allows.

    def grow_window(self, stream: int, increment: int) -> None:
        """Raises ProtocolError."""
        if increment == 0:
            raise ProtocolError(frames.PROTOCOL_ERROR, "a window grows by nothing")
        if stream == 0:
            self._window += increment
            widest = self._window
        else:
            call = self.get(stream)
            if call is None:
                return
            call.window += increment
            widest = call.window
        _check_window(widest)
        self._pump()

    def apply(self, settings: list[tuple[int, int]]) -> None:
        """Raises ProtocolError."""
        for name, value in settings:
            if name == frames.MAX_CONCURRENT_STREAMS:
                self._max_calls = value
            elif name == frames.MAX_FRAME_SIZE:
                self._frame_size = min(value, _LARGEST_FRAME)
            elif name == frames.INITIAL_WINDOW_SIZE:
                for call in self._calls.values():
                    call.window += value - self._call_window
                    _check_window(call.window)
                self._call_window = value
        self._pump()
        self._open_waiting()

    # What we allow.

    def give_room(self, call: Call, size: int) -> None:
        """`size` bytes of it were taken. Told when it is worth a frame."""
        call.owed_room += size
        if call.owed_room >= STREAM_WINDOW // 4:
            self._send(frames.window_update(call.id, call.owed_room))
            call.room += call.owed_room
            call.owed_room = 0


def _check_window(size: int) -> None:
    if size > frames.MAX_WINDOW:
        raise ProtocolError(frames.FLOW_CONTROL_ERROR, f"a window of {size} bytes is above {frames.MAX_WINDOW}")

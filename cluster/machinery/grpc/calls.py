"""
One call on a connection: what has come of its answer, and who waits for it.

The connection calls `received`, `arrived` and `ended`; nothing here touches the socket.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from urllib.parse import unquote

from cluster.machinery.grpc.errors import CODES, GrpcError
from cluster.machinery.grpc.headers import Headers

_PREFIX_SIZE = 5


def framed(message: bytes) -> bytes:
    """With gRPC's prefix: not compressed, and the length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class MessageReader:
    """Cuts a stream's data into messages of at most `max_size` bytes."""

    __slots__ = ("_max_size", "_need", "_parts", "_size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._parts: list[bytes] = []
        self._size = 0
        self._need = _PREFIX_SIZE

    @property
    def unfinished(self) -> bool:
        return self._size > 0

    def feed(self, data: bytes) -> list[bytes]:
        """Raises GrpcError for what is no message that may come."""
        size = len(data)
        if not self._size and size >= _PREFIX_SIZE and self._length(data) == size:
            return [data[_PREFIX_SIZE:]]
        self._parts.append(data)
        self._size += size
        if self._size < self._need:
            return []
        data = b"".join(self._parts)
        messages, at = [], 0
        while len(data) - at >= _PREFIX_SIZE:
            need = self._length(data[at : at + _PREFIX_SIZE])
            if len(data) - at < need:
                self._need = need
                break
            messages.append(data[at + _PREFIX_SIZE : at + need])
            at += need
        else:
            self._need = _PREFIX_SIZE
        rest = data[at:]
        self._parts = [rest] if rest else []
        self._size = len(rest)
        return messages

    def _length(self, data: bytes) -> int:
        """Of the message with its prefix."""
        if data[0]:
            raise GrpcError("INTERNAL", "a compressed message came, and none was asked for")
        size = int.from_bytes(data[1:_PREFIX_SIZE], "big")
        if size > self._max_size:
            raise GrpcError("RESOURCE_EXHAUSTED", f"a message of {size} bytes came; at most {self._max_size} may")
        return size + _PREFIX_SIZE


class Call:
    """State of one stream. `deadline` is loop time, 0 for none."""

    __slots__ = (
        "_max_size",
        "_reader",
        "block",
        "deadline",
        "ends",
        "id",
        "owed_room",
        "room",
        "sent",
        "started",
        "unsent",
        "window",
    )

    def __init__(self, block: bytes, message: bytes, deadline: float, max_size: int, *, ends: bool) -> None:
        self.block = block
        """The header block that opens it."""
        self.unsent: bytes | memoryview = framed(message)
        self.ends = ends
        """Whether nothing will follow `unsent`."""
        self.deadline = deadline
        self.id = 0
        """0 until it is on the wire."""
        self.sent = False
        """The request is on the wire to its end: the other side may act on it."""
        self.started = False
        """The answer's headers have come."""
        self.window = 0
        """Bytes that we may still send."""
        self.room = 0
        """Bytes that the other side may still send."""
        self.owed_room = 0
        """Bytes that were taken and that it has not been told of."""
        self._max_size = max_size
        self._reader: MessageReader | None = None

    @property
    def unfinished(self) -> bool:
        """The answer ends inside a message, if it ends here."""
        return self._reader is not None and self._reader.unfinished

    def received(self, data: bytes) -> int:
        """Takes data of the answer; returns how many bytes more may come for it. Raises GrpcError."""
        size = len(data)
        if self._reader is None:
            below = size - _PREFIX_SIZE
            if 0 <= below <= self._max_size and data[:_PREFIX_SIZE] == b"\0" + below.to_bytes(4, "big"):
                self.arrived(data[_PREFIX_SIZE:])  # one frame holds one whole message: nearly always so
                return size
            self._reader = MessageReader(self._max_size)
        for message in self._reader.feed(data):
            self.arrived(message)
        return size

    def arrived(self, message: bytes) -> None:
        raise NotImplementedError

    def ended(self, fault: GrpcError | None) -> None:
        """The last thing that happens to it."""
        raise NotImplementedError


class UnaryCall(Call):
    """One message there, one back: `answer`."""

    __slots__ = ("answer", "message")

    def __init__(
        self, block: bytes, message: bytes, deadline: float, max_size: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(block, message, deadline, max_size, ends=True)
        self.answer: asyncio.Future[bytes] = loop.create_future()
        self.message: bytes | None = None

    def arrived(self, message: bytes) -> None:
        if self.message is not None:
            raise GrpcError("INTERNAL", "a second message came for a call that has one answer")
        self.message = message

    def ended(self, fault: GrpcError | None) -> None:
        if self.answer.done():
            return
        if fault is None and self.message is None:
            fault = GrpcError("INTERNAL", "the call ended well and without a message")
        if fault is not None:
            self.answer.set_exception(fault)
        elif self.message is not None:
            self.answer.set_result(self.message)


BACKLOG = 4 << 20
"""Bytes of a stream that may wait for their reader before the other side has to."""


class StreamCall(Call):
    """Messages in both directions; iterate over it for those that come."""

    __slots__ = ("_backlog", "_fault", "_messages", "_over", "_waiter", "_withheld", "cancel", "give_room", "send")

    def __init__(self, block: bytes, message: bytes, max_size: int, *, ends: bool) -> None:
        super().__init__(block, message, 0.0, max_size, ends=ends)
        self._messages: deque[bytes] = deque()
        self._backlog = 0
        self._withheld = 0
        self._fault: GrpcError | None = None
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        self.send: Callable[[bytes], None] = _unopened
        """One more message; after the end of the stream it goes nowhere."""
        self.cancel: Callable[[], None] = _unopened
        self.give_room: Callable[[int], None] = _unopened

    def received(self, data: bytes) -> int:
        super().received(data)
        if self._backlog < BACKLOG:
            return len(data)
        self._withheld += len(data)
        return 0

    def arrived(self, message: bytes) -> None:
        self._messages.append(message)
        self._backlog += len(message)
        self._wake()

    def ended(self, fault: GrpcError | None) -> None:
        self._over, self._fault = True, fault
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> "StreamCall":
        return self

    async def __anext__(self) -> bytes:
        """Raises GrpcError when the stream broke."""
        while not self._messages:
            if self._over:
                if self._fault is not None:
                    raise self._fault
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        message = self._messages.popleft()
        self._backlog -= len(message)
        if self._withheld and self._backlog < BACKLOG:
            withheld, self._withheld = self._withheld, 0
            if not self._over:
                self.give_room(withheld)
        return message


def _unopened(*_: object) -> None:
    raise RuntimeError("the stream was not opened by a connection")


def judged(headers: Headers) -> GrpcError | None:
    """What trailers say. Source: grpc, doc/PROTOCOL-HTTP2.md."""
    status = headers.get("grpc-status", "")
    if status == "0":
        return None
    if not status:
        # What a server that stops leaves behind.
        return GrpcError("UNAVAILABLE", "the answer ended without a grpc-status")
    known = status.isascii() and status.isdigit() and len(status) <= 2 and int(status) < len(CODES)
    return GrpcError(CODES[int(status)] if known else "UNKNOWN", unquote(headers.get("grpc-message", "")))


# What proxies and overloaded servers say instead. Source: grpc, doc/http-grpc-status-mapping.md.
_HTTP_STATUS = {
    "400": "INTERNAL", "401": "UNAUTHENTICATED", "403": "PERMISSION_DENIED", "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE", "502": "UNAVAILABLE", "503": "UNAVAILABLE", "504": "UNAVAILABLE",
}  # fmt: skip


def not_grpc(headers: Headers) -> GrpcError | None:
    """A complaint about first headers that no gRPC server sends."""
    status, kind = headers.get(":status", ""), headers.get("content-type", "")
    if status == "200" and kind.startswith("application/grpc"):
        return None
    code = "UNKNOWN" if status == "200" else _HTTP_STATUS.get(status, "UNKNOWN")
    return GrpcError(code, f"this is no gRPC server: it answered with HTTP status {status!r}, content type {kind!r}")

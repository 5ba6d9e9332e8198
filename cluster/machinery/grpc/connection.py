"""
One HTTP/2 connection: calls out, answers in, until either side ends it.

Whatever breaks the protocol ends the connection, and every call on it with a GrpcError that says whether the other
side may have acted on it. Source: RFC 9113; gRPC's keepalive is in grpc, doc/keepalive.md.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from cluster.machinery.grpc import frames
from cluster.machinery.grpc.calls import Call, judged, not_grpc
from cluster.machinery.grpc.errors import GrpcError, ProtocolError
from cluster.machinery.grpc.headers import MAX_BLOCK, HeaderDecoder
from cluster.machinery.grpc.open_calls import STREAM_WINDOW, OpenCalls
from cluster.machinery.grpc.outbox import Outbox

log = logging.getLogger(__name__)

CONNECTION_WINDOW = 16 << 20
KEEPALIVE_PATIENCE = 2.0
"""Seconds that a ping may go without an answer."""
_MAX_EMPTY = 10_000
"""Frames of no use in a row: nobody sends them in earnest."""

_OPENING = (
    frames.PREFACE
    + frames.settings(
        {
            frames.HEADER_TABLE_SIZE: 0,
            frames.ENABLE_PUSH: 0,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            frames.MAX_HEADER_LIST_SIZE: MAX_BLOCK,
        }
    )
    + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
)


class Connection(asyncio.Protocol):
    """Made by a channel; usable once `settled`, until `usable` is False."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        on_unusable: Callable[["Connection"], None],
        keepalive: float = 0.0,
    ) -> None:
        """`keepalive` as a Channel takes it."""
        self._loop = loop
        self._keepalive = keepalive
        self._name = name
        """For messages: what it is connected to."""
        self._on_unusable = on_unusable
        self.settled: asyncio.Future[None] = loop.create_future()
        """Done when the other side has spoken HTTP/2. Raises GrpcError when it did not."""
        self.closed: asyncio.Future[None] = loop.create_future()
        self.usable = True
        """Whether it takes new calls."""
        self._transport: asyncio.Transport | None = None
        self._outbox = Outbox(loop)
        self._calls = OpenCalls(name, self._outbox, self._on_end)
        self.cancel = self._calls.cancel
        self._reader = frames.FrameReader()
        self._headers = HeaderDecoder()
        self._room = CONNECTION_WINDOW
        self._block: tuple[int, int, bytearray] | None = None
        """A header block whose end has not come: stream, flags, what there is."""
        self._useless = 0
        self._timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._pinged = 0.0
        """When the ping went out since which nothing was heard; 0 without one."""

    def start(self, call: Call) -> None:
        """Put it on the wire, or in line for it. Its end comes by `call.ended`."""
        if not self.usable:
            call.ended(GrpcError("UNAVAILABLE", f"the connection to {self._name} is closing", processed=False))
            return
        if self._keepalive and not len(self._calls):
            self._heard = self._loop.time()  # it may have been idle for long; its silence counts from now
            self._wake_at(self._heard + self._keepalive)
        self._calls.start(call)
        if call.deadline:
            self._wake_at(call.deadline)
        if self._calls.exhausted:
            self._retire()

    def _on_end(self) -> None:
        if not self.usable and not len(self._calls):
            self._close()

    # Ending.

    def retire(self) -> None:
        """Takes no more calls; closes when those that run have ended."""
        self._retire()
        self._on_end()

    def _retire(self) -> None:
        if self.usable:
            self.usable = False
            self._on_unusable(self)
            self._calls.accept_no_more()

    def close(self, why: str) -> None:
        """Ends it with all its calls."""
        self._end_all(why)
        self._close()

    def abort(self) -> None:
        """Without a word, also when the other side does not read."""
        if self._transport is not None:
            self._transport.abort()

    def _close(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._outbox.send(frames.go_away(frames.NO_ERROR, ""))
            self._outbox.flush()
            transport.close()

    def _fail(self, error_code: int, why: str) -> None:
        """The other side broke the rules, or is gone."""
        log.debug("ending the connection to %s: %s", self._name, why)
        transport, self._transport = self._transport, None
        self._outbox.connect(None)
        if transport is not None:
            transport.write(frames.go_away(error_code, why))
            # Not close: that would wait until all is written, and such a peer may never read.
            transport.abort()
        self._end_all(f"the connection to {self._name} ended: {why}")

    def _end_all(self, why: str) -> None:
        self._retire()
        self._calls.finish_all(GrpcError("UNAVAILABLE", why))
        if not self.settled.done():
            self.settled.set_exception(GrpcError("UNAVAILABLE", why, processed=False))
            self.settled.exception()  # seen, also when nobody waits any more
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._outbox.connect(self._transport)
        self._heard = self._loop.time()
        self._transport.write(_OPENING)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._outbox.connect(None)
        self._end_all(f"the connection to {self._name} was lost: {exc or 'the other side closed it'}")
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._outbox.pause()

    def resume_writing(self) -> None:
        self._outbox.resume()

    def data_received(self, data: bytes) -> None:
        self._heard, self._pinged = self._loop.time(), 0.0
        try:
            for kind, flags, stream, payload in self._reader.feed(data):
                self._take(kind, flags, stream, payload)
                if self._transport is None:
                    return
        except ProtocolError as fault:
            self._fail(fault.error_code, str(fault))

    # Time.

    def _wake_at(self, when: float) -> None:
        timer = self._timer
        if timer is None or timer.when() > when:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        """Ends calls whose time is over, and finds out whether a silent peer is still there."""
        self._timer = None
        now = self._loop.time()
        due = []
        for call in self._calls:
            if 0.0 < call.deadline <= now:
                fault = GrpcError("DEADLINE_EXCEEDED", "no answer came in time", processed=call.sent)
                self._calls.finish(call, fault, frames.CANCEL)
            elif call.deadline:
                due.append(call.deadline)
        if self._keepalive and len(self._calls) and self._transport is not None:
            if self._pinged and now >= self._pinged + KEEPALIVE_PATIENCE:
                self._fail(frames.NO_ERROR, f"it answered no ping for {KEEPALIVE_PATIENCE:g} s")
                return
            if not self._pinged and now >= self._heard + self._keepalive:
                self._pinged = now
                self._outbox.send(frames.frame(frames.PING, 0, 0, b"hanse-up"))
            due.append(self._pinged + KEEPALIVE_PATIENCE if self._pinged else self._heard + self._keepalive)
        if due and self._transport is not None:
            self._wake_at(min(due))

    # What comes in.

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream != self._block[0]):
            raise ProtocolError(frames.PROTOCOL_ERROR, "another frame came inside a header block")
        if not self.settled.done():
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ProtocolError(frames.PROTOCOL_ERROR, f"its first frame is of type {kind}, not SETTINGS")
            self.settled.set_result(None)
        if kind == frames.DATA:
            self._take_data(flags, stream, payload)
        elif kind == frames.HEADERS:
            self._take_block(stream, flags, frames.content(kind, flags, payload))
        elif kind == frames.WINDOW_UPDATE:
            self._calls.grow_window(stream, frames.number(payload) & frames.MAX_WINDOW)
        elif kind == frames.CONTINUATION:
            if self._block is None:
                raise ProtocolError(frames.PROTOCOL_ERROR, "a CONTINUATION came without a header block")
            self._take_block(stream, self._block[1] | flags & frames.END_HEADERS, payload)
        elif kind == frames.SETTINGS:
            self._take_settings(flags, stream, payload)
        elif kind == frames.PING:
            self._take_ping(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            self._take_reset(stream, frames.number(payload))
        elif kind == frames.GOAWAY:
            self._take_goaway(stream, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ProtocolError(frames.PROTOCOL_ERROR, "it pushes, which was forbidden")
        else:
            self._count_useless()  # PRIORITY says nothing to a client; unknown types are to be ignored

    def _count_useless(self) -> None:
        self._useless += 1
        if self._useless > _MAX_EMPTY:
            raise ProtocolError(frames.ENHANCE_YOUR_CALM, f"{_MAX_EMPTY} frames of no use came")

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._room -= size
        if self._room < 0:
            raise ProtocolError(frames.FLOW_CONTROL_ERROR, "more data came than there was room for")
        if self._room < CONNECTION_WINDOW // 2:
            self._outbox.send(frames.window_update(0, CONNECTION_WINDOW - self._room))
            self._room = CONNECTION_WINDOW
        call = self._calls.get(stream)
        if call is None:
            return  # it was given up; this was on its way when we said so
        if flags & frames.PADDED:
            payload = frames.content(frames.DATA, flags, payload)
        if payload:
            self._useless = 0
        else:
            self._count_useless()
        call.room -= size
        if call.room < 0:
            raise ProtocolError(frames.FLOW_CONTROL_ERROR, f"more data came on stream {stream} than there was room for")
        if not call.started:
            raise ProtocolError(frames.PROTOCOL_ERROR, f"data came on stream {stream} before its headers")
        try:
            taken = call.received(payload) + size - len(payload)
        except GrpcError as fault:
            self._calls.finish(call, fault, frames.CANCEL)
            return
        if flags & frames.END_STREAM:
            self._calls.finish_from_there(call, judged({}))
        else:
            self._calls.give_room(call, taken)

    def _take_block(self, stream: int, flags: int, part: bytes) -> None:
        if self._block is None and flags & frames.END_HEADERS:
            self._take_headers(stream, flags, part)
            return
        block = self._block[2] if self._block is not None else bytearray()
        block += part
        if len(block) > MAX_BLOCK or not part:
            raise ProtocolError(frames.ENHANCE_YOUR_CALM, "a header block does not end")
        self._block = (stream, flags, block) if not flags & frames.END_HEADERS else None
        if flags & frames.END_HEADERS:
            self._take_headers(stream, flags, bytes(block))

    def _take_headers(self, stream: int, flags: int, block: bytes) -> None:
        headers = self._headers.decode(block)
        call = self._calls.get(stream)
        if call is None:
            return
        ends = bool(flags & frames.END_STREAM)
        if not call.started:
            if not ends and headers.get(":status", "").startswith("1"):
                self._count_useless()
                return
            complaint = not_grpc(headers)
            if complaint is not None:
                self._calls.finish(call, complaint, frames.CANCEL)
                return
            call.started = True
        elif not ends:
            raise ProtocolError(frames.PROTOCOL_ERROR, f"headers came twice on stream {stream}")
        if ends:
            fault = judged(headers)
            if fault is None and call.unfinished:
                fault = GrpcError("INTERNAL", "the answer ended inside a message")
            self._calls.finish_from_there(call, fault)

    def _take_settings(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0:
            raise ProtocolError(frames.PROTOCOL_ERROR, f"settings came on stream {stream}")
        if flags & frames.ACK:
            if payload:
                raise ProtocolError(frames.FRAME_SIZE_ERROR, "settings are acknowledged with content")
            return
        self._calls.apply(frames.read_settings(payload))
        self._outbox.answer(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _take_ping(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != 0 or len(payload) != 8:
            raise ProtocolError(frames.PROTOCOL_ERROR, f"a ping of {len(payload)} bytes came on stream {stream}")
        if not flags & frames.ACK:
            self._outbox.answer(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _take_reset(self, stream: int, error_code: int) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        if error_code == frames.REFUSED_STREAM:
            fault = GrpcError("UNAVAILABLE", "the server refused the stream", processed=False)
        else:
            fault = GrpcError("UNAVAILABLE", f"the server ended the stream with error {error_code}")
        self._calls.finish(call, fault)

    def _take_goaway(self, stream: int, payload: bytes) -> None:
        if stream != 0 or len(payload) < 8:
            raise ProtocolError(frames.PROTOCOL_ERROR, f"a GOAWAY of {len(payload)} bytes came on stream {stream}")
        last = int.from_bytes(payload[:4], "big") & frames.MAX_STREAM_ID
        self._retire()
        self._calls.refuse_behind(last, f"{self._name} takes no more calls on this connection")
        self._on_end()

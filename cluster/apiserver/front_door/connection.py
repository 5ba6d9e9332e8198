"""
One client connection: aiohttp's handler, with a door in front of it that takes plain reads and writes by itself.

A request is looked at here only when aiohttp's parser stands between two requests and its handler is idle; then
either the whole answer is written here, or the bytes go on as if nobody had looked. Big answers are written in
portions that the client takes before the next, so a slow one holds no copy of a list.

It also bounds what a connection may do without being a request: begin one and not end it.
"""

import asyncio
import http
import logging
import time
from collections import deque
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from cluster.apiserver.front_door.answers import PORTION, ResponseHead, portions
from cluster.apiserver.front_door.heads import Boundary, split, split_write
from cluster.apiserver.front_door.plain_reads import PlainReads, Read
from cluster.apiserver.front_door.plain_writes import BODY_LIMIT, PlainWrites, Write

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""How long the head of a request may take, and a new connection until its first one."""
HEAD_LIMIT = 1 << 20
"""Bytes of a head, as upstream takes them: tokens, selectors and a user's groups can be long."""
TAKING_SECONDS = 60.0
"""How long a client may take nothing of an answer that is waiting for it."""
BODY_SECONDS = 1.0
"""How long more of a body is waited for here; the handler waits longer."""
HELD_LIMIT = 64 << 10
"""Bytes of later requests that are taken in while one is answered."""


_head = ResponseHead()


class Connection(RequestHandler):
    """Made by `Listener` for each connection."""

    def __init__(
        self, manager: web.Server, reads: PlainReads | None, writes: PlainWrites | None, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._reads = reads
        self._writes = writes
        self._peer: bytes | None = None
        self._boundary = Boundary()
        self._read: Read | None = None
        """The one that is being answered here."""
        self._write: Write | None = None
        """As well; until there is a `_writing`, the rest of its body is on the way."""
        self._writing: asyncio.Task[None] | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._request = b""
        self._unwritten: deque[memoryview] = deque()
        self._held: list[bytes] = []
        self._closing = False
        self._head_bytes = 0
        """Of a head that has not ended."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._taking_timer: asyncio.TimerHandle | None = None
        self._answered: asyncio.Future[None] | None = None

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._peer = (tls.getpeercert(True) or None) if tls is not None else None
        self._head_timer = self._loop.call_later(HEAD_SECONDS, self._head_is_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self._held.clear()
        self._unwritten.clear()
        if self._read is not None:
            self._read.close()
            self._end()
        elif self._write is not None:
            if self._writing is not None:
                self._writing.cancel()
            self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._read is not None or self._writing is not None:
            self._hold(data)
            return
        if self._write is not None:
            self._take_body(self._write, self._request + data)
            return
        waiter, reads, writes = self._waiter, self._reads, self._writes
        if (
            reads is not None
            and writes is not None
            and waiter is not None
            and not waiter.done()
            and self._boundary.reached
            and not (self._messages or self._upgraded or self._close or self._force_close or self._buffer_paused)
        ):
            if (head := split(data)) is not None:
                if (read := reads.open(head[0], head[1], self._peer, time.perf_counter())) is not None:
                    self._begin(read, reads, data)
                    return
            elif (asked := split_write(data, BODY_LIMIT)) is not None:
                write = writes.open(asked, self._peer, time.perf_counter())
                if write is not None:
                    self._stop_head_timer()
                    self._write = write
                    self._take_body(write, data)
                    return
        self._pass_on(data)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unwritten:
            self._write_on()

    # From the server.

    def close(self) -> None:
        """Take no more requests; what is being asked is still answered."""
        if self._write is not None and self._writing is None:
            self._leave_to_handler()
        if self._read is not None or self._write is not None:
            self._closing = True
        elif not self._payload_is_coming():
            super().close()
        # Else aiohttp's would drop the rest of the body. The answer says `Connection: close`, and is the last.

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's
        if self._read is not None or self._write is not None:
            self._answered = self._loop.create_future()
            await asyncio.wait([self._answered], timeout=timeout)
        await super().shutdown(timeout)

    # Answering here.

    def _begin(self, read: Read, reads: PlainReads, data: bytes) -> None:
        self._stop_head_timer()
        self._read = read
        self._request = data
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if read.reading.consistent:
            reads.cache.when_current(lambda current: self._answer_at(read, current=current))
        else:
            self._answer(read)

    def _answer_at(self, read: Read, *, current: bool) -> None:
        """Memory is as new as the request, or will not get there in time."""
        if self._read is not read:
            return  # the client has gone
        if current:
            self._answer(read)
        else:
            self._leave_to_handler()

    def _answer(self, read: Read) -> None:
        try:
            parts = read.answer()
        except Exception:
            # The handler tells the client; here only the trace of what was not foreseen is kept.
            log.exception("a read failed at the door")
            parts = None
        transport = self.transport
        if parts is None or transport is None:
            self._leave_to_handler()
            return
        read.close()
        length = sum(map(len, parts))
        flow = read.place.flow
        head = _head.of(length, b"" if flow is None else flow.lines)
        read.reading.ended(time.perf_counter() - read.began)
        if length <= PORTION:
            transport.write(b"".join((head, *parts)))
            self._end()
        else:
            self._unwritten.append(memoryview(head))
            self._unwritten.extend(portions(parts))
            self._write_on()

    def _take_body(self, write: Write, data: bytes) -> None:
        """Head and body as far as they are here: begin when that is all."""
        self._request = data
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        writes = self._writes
        if len(data) < write.size:
            self._body_timer = self._loop.call_later(BODY_SECONDS, self._leave_to_handler)
            return
        if len(data) == write.size and writes is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            self._writing = writes.start(write, data, self._written)
        if self._writing is None:
            self._leave_to_handler()  # more than one request, or no place for it

    def _written(self, response: web.Response) -> None:
        transport, writes = self.transport, self._writes
        if transport is None or writes is None:
            return
        body = response.body if isinstance(response.body, bytes) else b""
        last = writes.in_flight.draining
        head = _head.of_response(response, len(body), last=last)
        self._closing = self._closing or last
        if len(body) <= PORTION:
            transport.write(head + body)
            self._end()
        else:
            self._unwritten.append(memoryview(head))
            self._unwritten.extend(portions((body,)))
            self._write_on()

    def _write_on(self) -> None:
        """As much as the client takes; the rest when it has taken that."""
        unwritten, transport = self._unwritten, self.transport
        self._stop_taking_timer()
        while unwritten and not self._paused and transport is not None:
            transport.write(unwritten.popleft())
        if unwritten:
            self._taking_timer = self._loop.call_later(TAKING_SECONDS, self._abort)
        elif self._read is not None or self._write is not None:
            self._end()

    def _end(self) -> None:
        """The answer is written, or nobody waits for it any more."""
        self._forget_request()
        if self._closing:
            super().close()
        elif self._held:
            held = self._take_held()
            if self.transport is not None:
                self.data_received(held)

    def _leave_to_handler(self) -> None:
        request = self._request
        if self._read is not None:
            self._read.close()
        self._forget_request()
        held = self._take_held()
        if self.transport is not None:
            self._pass_on(request)
            if held:
                self._pass_on(held)
        if self._closing:
            super().close()

    def _forget_request(self) -> None:
        self._read, self._write, self._writing, self._request = None, None, None, b""
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        self._stop_taking_timer()
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        if sum(map(len, self._held)) > HELD_LIMIT:
            self._pause_transport_reading()

    def _take_held(self) -> bytes:
        if not self._held:
            return b""
        held = b"".join(self._held)
        self._held.clear()
        self._resume_transport_reading()
        return held

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """The handler's answer; a big one has to be taken in time."""
        body = getattr(resp, "body", None)
        if not isinstance(body, bytes) or len(body) <= PORTION:
            return await super().finish_response(request, resp, start_time)
        try:
            async with asyncio.timeout(TAKING_SECONDS):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            self._abort()
            return resp, True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is answered in one line and not logged with a trace: anybody can send it."""
        if status != 400 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong):
            status = 431
        log.debug("a request that is none: %s", exc)
        text = f"{status} {http.HTTPStatus(status).phrase}"
        answer = web.Response(status=status, text=text)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp calls it a failure when a client leaves before the rest of its refused body is read."""
        if self.transport is not None or not isinstance(kw.get("exc_info"), RuntimeError):
            super().log_exception(*args, **kw)

    # What goes on to aiohttp.

    def _pass_on(self, data: bytes) -> None:
        before = self._request_count
        self._boundary.passed(data)
        super().data_received(data)
        if self._request_count != before or self._payload_is_coming():
            self._stop_head_timer()
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_LIMIT and not self._upgraded:
            self.force_close()  # aiohttp bounds each line, not all of them together
        elif data and self._head_timer is None and not self._upgraded:
            self._head_timer = self._loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _payload_is_coming(self) -> bool:
        """Whether a request's body is being received: its time is the request's own."""
        return self._request_in_progress or bool(self._messages) or self._payload_parser is not None

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _stop_taking_timer(self) -> None:
        if self._taking_timer is not None:
            self._taking_timer.cancel()
            self._taking_timer = None

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._read is None and self._write is None and not self._payload_is_coming():
            self.force_close()


class Listener(web.Server):
    """Makes a Connection for each client."""

    def __init__(self, handler: Any, reads: PlainReads | None, writes: PlainWrites | None, **options: Any) -> None:
        """Without `reads` and `writes` every request goes to the handler."""
        super().__init__(handler, **options)
        self._reads = reads
        self._writes = writes

    def __call__(self) -> RequestHandler:
        return Connection(self, self._reads, self._writes, loop=self._loop, **self._kwargs)

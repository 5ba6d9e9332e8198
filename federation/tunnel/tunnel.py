"""
Many connections in one WebSocket, which the member holds open: the same code at both ends.

Used by   federation.apiserver.tunnels, which dials, and federation.agent.answer, which accepts.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp

from federation.tunnel.frames import OPEN, RESET, STREAMS, Frame, FrameError, decode, encode
from federation.tunnel.stream import Stream

HEARTBEAT = 6.0
"""Seconds between pings, at both ends; a tunnel whose other end is silent for half as long more is over."""
Accept = Callable[[socket.socket], Awaitable[None]]


class WebSocket(Protocol):
    """aiohttp's, of a client or of a server."""

    async def receive(self) -> aiohttp.WSMessage: ...

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None: ...


class Tunnel:
    """
    `run` for as long as it lasts.

    Args:
        accept: takes the connections that the other end dials; without it there are none to take.
    """

    def __init__(self, way: WebSocket, accept: Accept | None = None) -> None:
        self._way = way
        self._accept = accept
        self._streams: dict[int, Stream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._accepting: set[asyncio.Task[bool]] = set()
        self._last = 0
        """Number of the newest stream."""
        self._over = False

    @property
    def streams(self) -> int:
        """How many there are now."""
        return len(self._streams)

    async def run(self) -> None:
        """Until the other end has gone, then all streams have ended. Raises FrameError for one that is no tunnel."""
        try:
            while True:
                message = await self._way.receive()
                if message.type is aiohttp.WSMsgType.BINARY:
                    self._take(decode(message.data))
                elif message.type is aiohttp.WSMsgType.TEXT:
                    raise FrameError("a tunnel has no texts")
                else:
                    return
        finally:
            self._over = True
            left = [*self._tasks.values(), *self._accepting]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def dial(self) -> socket.socket:
        """A new connection to the other end. Raises ConnectionError when the tunnel is over or full."""
        if self._over:
            raise ConnectionResetError("the tunnel has ended")
        if len(self._streams) >= STREAMS:
            raise ConnectionRefusedError(f"the tunnel carries {STREAMS} connections already")
        return self._begin(self._last + 1, open_first=True)

    def _take(self, frame: Frame) -> None:
        stream = self._streams.get(frame.stream)
        if frame.kind == OPEN:
            self._opened(frame.stream)
        elif frame.kind == RESET:
            if (task := self._tasks.get(frame.stream)) is not None:
                task.cancel()
        elif stream is not None:
            stream.take(frame)
        elif frame.stream > self._last:
            raise FrameError(f"stream {frame.stream} was never opened")
        # Else it was on the way when the stream ended here.

    def _opened(self, number: int) -> None:
        if self._accept is None or number <= self._last:
            raise FrameError(f"stream {number} cannot be opened")
        if len(self._streams) >= STREAMS:
            raise FrameError(f"more than {STREAMS} streams at once")
        theirs = self._begin(number, open_first=False)
        accepting = asyncio.create_task(self._hand_on(self._accept, theirs), name=f"accept stream {number}")
        self._accepting.add(accepting)

        def handed_on(task: "asyncio.Task[bool]") -> None:
            self._accepting.discard(task)
            if task.cancelled() or not task.result():
                theirs.close()  # the stream sees its end

        accepting.add_done_callback(handed_on)

    async def _hand_on(self, accept: Accept, theirs: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            await accept(theirs)
            return True
        return False

    def _begin(self, number: int, *, open_first: bool) -> socket.socket:
        self._last = number
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            one.setblocking(False)
        stream = self._streams[number] = Stream(number, self._send)
        task = asyncio.create_task(self._carry(stream, number, ours, open_first=open_first), name=f"stream {number}")
        self._tasks[number] = task

        def ended(_: "asyncio.Task[None]") -> None:  # also when it was cancelled before it began
            self._streams.pop(number, None)
            self._tasks.pop(number, None)
            ours.close()

        task.add_done_callback(ended)
        return theirs

    async def _carry(self, stream: Stream, number: int, ours: socket.socket, *, open_first: bool) -> None:
        whole = False
        try:
            with contextlib.suppress(OSError):  # who reads or writes here has gone; RESET tells the other end
                if open_first:
                    await self._send(Frame(OPEN, number))
                await stream.run(ours)
                whole = True
        finally:
            if not whole and not self._over:
                await self._reset(number)

    async def _reset(self, number: int) -> None:
        with contextlib.suppress(ConnectionError):  # the tunnel is over, and with it the stream
            await self._send(Frame(RESET, number))

    async def _send(self, frame: Frame) -> None:
        await self._way.send_bytes(encode(frame))

"""
One connection of a tunnel: carries bytes between a local socket and the frames of its number.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable

from federation.tunnel.frames import CHUNK, CREDIT, DATA, END, WINDOW, Frame, FrameError

Send = Callable[[Frame], Awaitable[None]]


class Stream:
    """`run` in a task; `take` every frame of this number. What waits here never is more than the window."""

    def __init__(self, number: int, send: Send) -> None:
        self._number = number
        self._send = send
        self._credit = WINDOW
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._inbox: deque[bytes] = deque()
        self._waiting = 0
        self._ended = False
        self._news = asyncio.Event()

    def take(self, frame: Frame) -> None:
        """Raises FrameError for more than there was credit for."""
        if frame.kind == CREDIT:
            self._credit += frame.credit
            if self._credit > WINDOW:
                raise FrameError(f"stream {self._number} gives credit for what was never sent")
            if self._credit:
                self._may_send.set()
            return
        if self._ended:
            raise FrameError(f"stream {self._number} goes on after its end")
        if frame.kind == END:
            self._ended = True
        else:
            self._waiting += len(frame.data)
            if self._waiting > WINDOW:
                raise FrameError(f"stream {self._number} sends more than it may")
            self._inbox.append(frame.data)
        self._news.set()

    async def run(self, ours: socket.socket) -> None:
        """Until both directions have ended. Raises OSError when the local side breaks off; `ours` is closed then."""
        reader, writer = await asyncio.open_connection(sock=ours, limit=CHUNK)
        inward = asyncio.create_task(self._inward(writer), name=f"tunnel stream {self._number} inward")
        outward = asyncio.create_task(self._outward(reader), name=f"tunnel stream {self._number} outward")
        try:
            await asyncio.gather(inward, outward)
            writer.close()
            await writer.wait_closed()  # what is written has been taken
        finally:
            for task in (inward, outward):
                task.cancel()
            await asyncio.gather(inward, outward, return_exceptions=True)
            writer.transport.abort()

    async def _outward(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(CHUNK):
            while chunk:
                await self._may_send.wait()
                part, chunk = chunk[: self._credit], chunk[self._credit :]
                self._credit -= len(part)
                if not self._credit:
                    self._may_send.clear()
                await self._send(Frame(DATA, self._number, part))
        await self._send(Frame(END, self._number))

    async def _inward(self, writer: asyncio.StreamWriter) -> None:
        while True:
            while self._inbox:
                data = self._inbox.popleft()
                writer.write(data)
                await writer.drain()
                self._waiting -= len(data)
                await self._send(Frame(CREDIT, self._number, credit=len(data)))
            if self._ended:
                break
            self._news.clear()
            await self._news.wait()
        if writer.can_write_eof():
            writer.write_eof()

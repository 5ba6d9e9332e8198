"""A TCP proxy that can be cut: what a network between two parts of a federation does."""

import asyncio
import contextlib
import random
from typing import Self

CHUNK = 256 * 1024
PASS, REFUSE, SWALLOW = "pass", "refuse", "swallow"
"""Let through; break every connection; take connections and bytes, and bring none of them anywhere."""


class Proxy:
    """Serves while entered, at a port of its own that stays the same."""

    def __init__(self, target: int, *, loss: float = 0.0, retransmission: float = 0.2, seed: int = 0) -> None:
        """
        Args:
            target: Port on loopback.
            loss: Share of chunks whose packet is lost, each way; they come `retransmission` seconds later, doubled
                with each further loss, as TCP brings them.
        """
        self._target = target
        self._loss = loss
        self._retransmission = retransmission
        self._random = random.Random(seed)
        self._mode = PASS
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self._break_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def turn(self, mode: str) -> None:
        """To PASS, REFUSE or SWALLOW. Connections that were swallowed break when the network is whole again."""
        if mode == REFUSE or (self._mode == SWALLOW and mode == PASS):
            self._break_all()
        self._mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    def _break_all(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()
        self._open.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._open.add(writer)
        try:
            await self._pass_on(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # broken off by a side, by `turn` or at the end: what a proxy is for
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == REFUSE:
            return
        while self._mode == SWALLOW:
            await self._changed.wait()
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target, limit=CHUNK)
        self._open.add(target_writer)
        ways = [
            asyncio.ensure_future(self._copy(reader, target_writer)),
            asyncio.ensure_future(self._copy(target_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.discard(target_writer)
            target_writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            wait = self._retransmission
            while self._loss and self._random.random() < self._loss:
                await asyncio.sleep(wait)
                wait *= 2
            while self._mode == SWALLOW:
                await self._changed.wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

"""What is to be written: collected for one turn of the event loop, held while the other side does not read."""

import asyncio

from cluster.machinery.grpc.errors import ProtocolError
from cluster.machinery.grpc.frames import ENHANCE_YOUR_CALM

_MAX_OWED = 1000
"""Answers to pings and settings that may pile up while the other side does not read."""


class Outbox:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._owed = 0
        self._paused = False

    def connect(self, transport: asyncio.Transport | None) -> None:
        self._transport = transport

    def send(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def answer(self, data: bytes) -> None:
        """Send what the other side has asked for. Raises ProtocolError when it asks and does not read."""
        self._owed += 1
        if self._owed > _MAX_OWED:
            raise ProtocolError(ENHANCE_YOUR_CALM, f"it asked for {_MAX_OWED} answers and reads none")
        self.send(data)

    def flush(self) -> None:
        if self._parts and not self._paused:
            parts, self._parts = self._parts, []
            self._owed = 0
            if self._transport is not None:
                self._transport.write(b"".join(parts))

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self.flush()

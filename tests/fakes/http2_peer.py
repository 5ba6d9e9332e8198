"""The other side of an HTTP/2 connection, which says what a test tells it to: well-behaved or not."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

from cluster.machinery.grpc import frames

OK_HEADERS = b"\x88\x0f\x10\x10application/grpc"
"""`:status: 200` and the content type, in HPACK without a table."""
OK_TRAILERS = b"\x00\x0bgrpc-status\x010"


def trailers(status: int, message: str) -> bytes:
    code, text = str(status).encode(), message.encode()
    return b"\x00\x0bgrpc-status" + bytes([len(code)]) + code + b"\x00\x0cgrpc-message" + bytes([len(text)]) + text


def message(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def answer(stream: int, data: bytes) -> bytes:
    """All frames of a call that went well."""
    return (
        frames.frame(frames.HEADERS, frames.END_HEADERS, stream, OK_HEADERS)
        + frames.frame(frames.DATA, 0, stream, message(data))
        + frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, OK_TRAILERS)
    )


class Peer(asyncio.Protocol):
    """One accepted connection. `frames` holds what came behind the preface; `send` says anything."""

    def __init__(self, on_made: Callable[["Peer"], None]) -> None:
        self._on_made = on_made
        self.frames: list[frames.Frame] = []
        self.transport: asyncio.Transport
        self.gone = False
        self._reader = frames.FrameReader(1 << 24)
        self._preface = b""
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._on_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._news.set()

    def data_received(self, data: bytes) -> None:
        if len(self._preface) < len(frames.PREFACE):
            self._preface += data
            if len(self._preface) < len(frames.PREFACE):
                return
            data = self._preface[len(frames.PREFACE) :]
            self._preface = self._preface[: len(frames.PREFACE)]
            assert self._preface == frames.PREFACE
        self.frames += self._reader.feed(data)
        self._news.set()

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def of(self, kind: int) -> list[frames.Frame]:
        return [frame for frame in self.frames if frame[0] == kind]

    async def until(self, kind: int, number: int = 1) -> frames.Frame:
        """The `number`th frame of that kind, once it has come. Raises TimeoutError."""
        async with asyncio.timeout(5):
            while len(self.of(kind)) < number:
                self._news.clear()
                await self._news.wait()
        return self.of(kind)[number - 1]

    async def until_gone(self) -> None:
        async with asyncio.timeout(5):
            while not self.gone:
                self._news.clear()
                await self._news.wait()


class PeerServer:
    """Accepts on a unix socket. `greet` sends SETTINGS at once, as servers do."""

    def __init__(self, path: Path, *, greet: bool = True) -> None:
        self.path = path
        self.peers: list[Peer] = []
        self._greet = greet
        self._arrival = asyncio.Event()

    @property
    def target(self) -> str:
        return f"unix://{self.path}"

    async def __aenter__(self) -> "PeerServer":
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()

    async def listen(self) -> None:
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Peer(self._accept), str(self.path))

    def stop(self) -> None:
        self._server.close()
        for peer in self.peers:
            peer.transport.abort()

    def _accept(self, peer: Peer) -> None:
        self.peers.append(peer)
        if self._greet:
            peer.send(frames.settings({}))
        self._arrival.set()

    async def peer(self, number: int = 1) -> Peer:
        """The `number`th connection, once it was made."""
        async with asyncio.timeout(5):
            while len(self.peers) < number:
                self._arrival.clear()
                await self._arrival.wait()
        return self.peers[number - 1]

"""
Upgraded connections (WebSocket, SPDY): a tunnel of bytes in both directions.

What flows through is between client and backend. A backend that refuses the upgrade is quoted as it is.
"""

import asyncio
import re
import ssl
from typing import Protocol

from aiohttp import web
from multidict import CIMultiDict

from cluster.apiserver import responses
from cluster.machinery.dialled import Dial

_CHUNK = 64 << 10
_HEAD_LIMIT = 64 << 10
_UNSENT_LIMIT = 256 << 10
"""Bytes for the backend that may wait here before the client has to."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection:[^\r\n]*", re.IGNORECASE)


class Endpoint(Protocol):
    """Where to; `forwarding.Target` is one."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def path(self) -> str: ...

    @property
    def tls(self) -> ssl.SSLContext | None: ...

    @property
    def server_name(self) -> str: ...

    @property
    def dial(self) -> Dial | None: ...


async def tunnel(
    request: web.BaseRequest, target: Endpoint, headers: CIMultiDict[str], connect_seconds: float, redirect_text: str
) -> web.StreamResponse:
    """
    Send the upgrade on, hand its answer back, then carry bytes until one side ends.

    Returns an answer only for a redirect, when `redirect_text` says that those are not allowed; in all other cases the
    connection has been used up and it ends with CancelledError. Raises OSError and TimeoutError when the backend does
    not answer.
    """
    async with asyncio.timeout(connect_seconds):
        reader, writer = await _connected(target)
    try:
        writer.write(_request_head(request, target, headers))
        head = await _answer_head(reader)
        status = _STATUS_LINE.match(head)
        if status is None:
            raise ConnectionError("malformed HTTP response")
        code = int(status[1])
        if redirect_text and 300 <= code <= 399 and b"\r\nlocation:" in head.lower():
            return responses.text(redirect_text, 502)
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away before the upgrade")
        from cluster.apiserver.audit.trail import trail_of  # tunnels are rare, and a server starts without

        if (trail := trail_of(request)) is not None:
            await trail.answer_begins(code)
        if code != 101:
            await _quote(transport, reader, head)
        else:
            await _carry(transport, reader, writer, head)
    finally:
        writer.close()
    raise asyncio.CancelledError


async def _connected(target: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target.dial is not None:
        return await asyncio.open_connection(sock=await target.dial(), limit=_HEAD_LIMIT)
    return await asyncio.open_connection(
        target.host,
        target.port,
        ssl=target.tls,
        server_hostname=(target.server_name or target.host) if target.tls else None,
        limit=_HEAD_LIMIT,
    )


def _request_head(request: web.BaseRequest, target: Endpoint, headers: CIMultiDict[str]) -> bytes:
    lines = [f"{request.method} {target.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() != "content-length"]
    if "Content-Length" in request.headers:
        lines.append("Content-Length: 0")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def _answer_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise ConnectionError("the answer's header is too long") from None
    except asyncio.IncompleteReadError:
        raise ConnectionError("EOF") from None


async def _carry(
    transport: asyncio.Transport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> None:
    protocol = _ClientSide(transport, writer)
    # From here on the bytes are not HTTP of ours: they go past aiohttp.
    transport.set_protocol(protocol)
    relieving = asyncio.create_task(protocol.relieve(), name="tunnel-relief")
    try:
        transport.write(head)
        while chunk := await reader.read(_CHUNK):
            if transport.is_closing():
                break
            transport.write(chunk)
            await protocol.drained()
    except ConnectionError:
        pass  # the backend hung up: so do we
    finally:
        relieving.cancel()
        transport.close()


async def _quote(transport: asyncio.Transport, reader: asyncio.StreamReader, head: bytes) -> None:
    """A refusal with its body; the connection ends after it, as its framing may be any."""
    length = _LENGTH.search(head)
    plain = _CONNECTION.sub(b"", head)
    transport.write(plain[:-2] + b"Connection: close\r\n\r\n")
    left = int(length[1]) if length else None
    tail = b""
    while left is None or left > 0:
        chunk = await reader.read(_CHUNK if left is None else min(_CHUNK, left))
        if not chunk or transport.is_closing():
            break
        transport.write(chunk)
        if left is not None:
            left -= len(chunk)
        elif (tail := (tail + chunk)[-7:]).endswith(b"\r\n0\r\n\r\n") or tail == b"0\r\n\r\n":
            break
    transport.close()


class _ClientSide(asyncio.Protocol):
    """What the client sends goes to the backend; neither side is read faster than the other takes it."""

    def __init__(self, transport: asyncio.Transport, writer: asyncio.StreamWriter) -> None:
        self._transport = transport
        self._before = transport.get_protocol()
        self._writer = writer
        self._full = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        self._writer.write(data)
        if self._writer.transport.get_write_buffer_size() > _UNSENT_LIMIT and not self._full.is_set():
            self._transport.pause_reading()
            self._full.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._may_write.set()
        self._writer.close()
        # aiohttp counts its connections: without this it would wait for this one for ever.
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def drained(self) -> None:
        await self._may_write.wait()

    async def relieve(self) -> None:
        """Read from the client again whenever the backend has taken what there was."""
        try:
            while True:
                await self._full.wait()
                await self._writer.drain()
                self._full.clear()
                if not self._transport.is_closing():
                    self._transport.resume_reading()
        except ConnectionError:
            self._transport.close()

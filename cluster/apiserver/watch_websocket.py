"""
A watch over a WebSocket: each event a text frame. Browsers use it, because over HTTP/1.1 each of a page's watches would
take one of the six connections that they allow a server.

Source: k8s.io/apiserver, pkg/endpoints/handlers/watch.go (HandleWS).
"""

import asyncio
import struct
from urllib.parse import urlsplit

from aiohttp import web

from cluster.apiserver.authentication import WEBSOCKET_TOKEN_PREFIX
from cluster.machinery.status_errors import Forbidden

_TEXT_FRAME = 0x81  # final fragment of a text message
_CLIENT_MESSAGE_LIMIT = 64 << 10
"""Bytes; clients have nothing to say here."""
_HEARTBEAT = 30.0
_CLOSE_SECONDS = 2.0


def wanted(request: web.BaseRequest) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def opened(request: web.BaseRequest) -> web.WebSocketResponse:
    """The handshake. Raises Forbidden for a page of another server that would use the browser's own login."""
    offered = [one.strip() for one in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if one.strip()]
    with_token = any(one.startswith(WEBSOCKET_TOKEN_PREFIX) for one in offered)
    origin = request.headers.get("Origin")
    if origin is not None and not with_token and urlsplit(origin).netloc != request.headers.get("Host"):
        # A client certificate is sent for whoever opens the connection; a token only its owner can put there.
        raise Forbidden(f"the origin {origin!r} may not watch with a login of the browser's; send a token")
    response = web.WebSocketResponse(
        protocols=[one for one in offered if not one.startswith(WEBSOCKET_TOKEN_PREFIX)][:1],
        compress=False,
        heartbeat=_HEARTBEAT,
        timeout=_CLOSE_SECONDS,
        max_msg_size=_CLIENT_MESSAGE_LIMIT,
    )
    await response.prepare(request)
    return response


async def read(response: web.WebSocketResponse, gone: asyncio.Event) -> None:
    """Answers pings until the client leaves; what it says besides is nothing to us."""
    try:
        async for _ in response:
            pass
    finally:
        gone.set()


class Frames:
    """What a watch writes to: takes events as HTTP chunks and sends each as a frame."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        self._transport.write(reframed(data))

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        self._transport.abort()


def reframed(chunks: bytes) -> bytes:
    """Whole HTTP chunks as WebSocket frames, as a server sends them: not masked."""
    frames: list[bytes] = []
    at = 0
    while at < len(chunks):
        end = chunks.index(b"\r\n", at)
        size = int(chunks[at:end], 16)
        at = end + 2 + size + 2
        frames += (_head(size), chunks[end + 2 : end + 2 + size])
    return b"".join(frames)


def _head(size: int) -> bytes:
    if size < 126:
        return struct.pack("!BB", _TEXT_FRAME, size)
    if size < 1 << 16:
        return struct.pack("!BBH", _TEXT_FRAME, 126, size)
    return struct.pack("!BBQ", _TEXT_FRAME, 127, size)

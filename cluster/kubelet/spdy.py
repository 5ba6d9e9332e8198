"""
A small SPDY/3.1 client: what it takes to talk to a runtime's streaming server.

containerd's websockets end at v4.channel.k8s.io, which cannot half-close stdin; SPDY streams can.
Only what a client needs: open streams, send and receive data, answer pings. Header blocks of answers are skipped.
Source: the SPDY/3.1 draft; moby/spdystream's habits (no flow control).
"""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FLAG_FIN = 1
MAX_FRAME = 1 << 24
CHUNK = 32 * 1024

# The dictionary that primes every header compressor: names that are common, each with its length, then values.
# It is a constant of the protocol; zlib knows it by its Adler-32 0xe3c6a7c2.
_NAME_TEXT = """
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status
"""
_NAMES = _NAME_TEXT.split()
_MORE = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_VALUES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(n)) + n.encode() for n in (*_NAMES, *_MORE)) + _VALUES.encode()


class StreamingFault(Exception):
    """The runtime's streaming server refused or broke off. Remedy: the caller's user tries again."""


class Data(NamedTuple):
    stream: int
    payload: bytes
    last: bool


async def upgrade(url: str, protocol: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """POST with Upgrade: SPDY/3.1. Returns the connection and the protocol that the server chose."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=1 << 20)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Connection: Upgrade",
        "Upgrade: SPDY/3.1",
        *(f"X-Stream-Protocol-Version: {p}" for p in protocol.split(",") if p),
        "Content-Length: 0",
    ]
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        if " 101 " not in f"{head[0]} ":
            raise StreamingFault(f"the runtime's streaming server answered {head[0]!r} instead of an upgrade")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.close()
        raise StreamingFault(f"the runtime's streaming server at {parts.netloc} broke off: {error}") from error
    except StreamingFault:
        writer.close()
        raise
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    return reader, writer, headers.get("x-stream-protocol-version", "")


class SpdyClient:
    """One upgraded connection. Streams are numbered 1, 3, 5 …"""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._compressor = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
        self._next = 1

    @classmethod
    async def connect(cls, url: str, protocol: str) -> "SpdyClient":
        """Raises StreamingFault, OSError."""
        reader, writer, _ = await upgrade(url, protocol)
        return cls(reader, writer)

    async def open(self, headers: Mapping[str, str]) -> int:
        """Open a stream; returns its number."""
        stream, self._next = self._next, self._next + 2
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        packed = self._compressor.compress(block) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        await self._control(SYN_STREAM, 0, struct.pack(">IIBB", stream, 0, 0, 0) + packed)
        return stream

    async def send(self, stream: int, payload: bytes, *, last: bool = False) -> None:
        """`last` half-closes the stream after this."""
        for start in range(0, len(payload) or 1, CHUNK):
            part = payload[start : start + CHUNK]
            flags = FLAG_FIN if last and start + CHUNK >= len(payload) else 0
            self._writer.write(struct.pack(">II", stream, flags << 24 | len(part)) + part)
        await self._writer.drain()

    async def _control(self, kind: int, flags: int, body: bytes) -> None:
        self._writer.write(struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body)
        await self._writer.drain()

    async def receive(self) -> AsyncIterator[Data]:
        """Data frames until the peer ends the connection. A reset stream counts as its end."""
        while True:
            try:
                first, second = struct.unpack(">II", await self._reader.readexactly(8))
                body = await self._reader.readexactly(second & 0xFFFFFF)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            flags = second >> 24
            if not first & 0x80000000:
                yield Data(first, body, bool(flags & FLAG_FIN))
                continue
            kind = first & 0xFFFF
            if kind == PING:
                await self._control(PING, 0, body)
            elif kind == RST_STREAM or (kind == SYN_REPLY and flags & FLAG_FIN):
                yield Data(struct.unpack(">I", body[:4])[0] & 0x7FFFFFFF, b"", True)
            elif kind == GOAWAY:
                return

    async def close(self) -> None:
        self._writer.close()

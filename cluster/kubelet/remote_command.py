"""
exec and attach: websockets towards kubectl (v5 and v4.channel.k8s.io), SPDY streams towards the runtime.

Channels: 0 stdin, 1 stdout, 2 stderr, 3 the Status at the end, 4 window sizes; [255, n] half-closes channel n (v5).
Anything that speaks SPDY itself (older kubectl, port-forward) is not understood here but passed on byte for byte.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from cluster.kubelet.spdy import SpdyClient, upgrade

log = logging.getLogger(__name__)

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
PORT_FORWARD_TUNNEL = "SPDY/3.1+portforward.k8s.io"
PORT_FORWARD = "portforward.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
HALF_CLOSE_PROTOCOL = "v5.channel.k8s.io"


@dataclass(frozen=True, slots=True)
class StreamOptions:
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


async def bridge_websocket(request: web.BaseRequest, url: str, options: StreamOptions) -> web.StreamResponse:
    """Serve one exec or attach. Raises StreamingFault, OSError before the upgrade."""
    runtime = await SpdyClient.connect(url, "v4.channel.k8s.io")
    try:
        wanted = [(ERROR, "error", True), (STDIN, "stdin", options.stdin), (STDOUT, "stdout", options.stdout),
                  (STDERR, "stderr", options.stderr and not options.tty), (RESIZE, "resize", options.tty)]  # fmt: skip
        streams = {
            channel: await runtime.open({"streamtype": kind}) for channel, kind, is_wanted in wanted if is_wanted
        }
        socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0, compress=False)
        await socket.prepare(request)
        # An empty message on the first writable channel tells the client that it is connected.
        await socket.send_bytes(bytes([STDOUT if options.stdout else STDERR if STDERR in streams else ERROR]))
        sending = asyncio.create_task(_to_runtime(socket, runtime, streams))
        receiving = asyncio.create_task(_to_client(socket, runtime, streams))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
        with contextlib.suppress(ConnectionError):
            await socket.close()
        return socket
    finally:
        await runtime.close()


async def _to_runtime(socket: web.WebSocketResponse, runtime: SpdyClient, streams: dict[int, int]) -> None:
    """Ends when the client goes away; a client that only half-closes is still there."""
    async for message in socket:
        if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT) or not message.data:
            continue
        # The Python client sends what is text in a text frame; upstream reads both kinds alike.
        data = message.data.encode() if isinstance(message.data, str) else message.data
        channel, payload = data[0], data[1:]
        if channel == CLOSE and payload and socket.ws_protocol == HALF_CLOSE_PROTOCOL:
            if payload[0] in streams:
                await runtime.send(streams[payload[0]], b"", last=True)
        elif channel in (STDIN, RESIZE) and channel in streams and payload:
            await runtime.send(streams[channel], payload)


async def _to_client(socket: web.WebSocketResponse, runtime: SpdyClient, streams: dict[int, int]) -> None:
    """Ends with the Status on channel 3, which the runtime sends after the last output."""
    channels = {stream: channel for channel, stream in streams.items()}
    verdict = b""
    async for frame in runtime.receive():
        channel = channels.get(frame.stream)
        if channel == ERROR:
            verdict += frame.payload
            if frame.last:
                break
        elif channel in (STDOUT, STDERR) and frame.payload:
            await socket.send_bytes(bytes([channel]) + frame.payload)
    await socket.send_bytes(bytes([ERROR]) + (verdict or b'{"metadata":{},"status":"Success"}'))


async def tunnel_websocket(request: web.BaseRequest, url: str) -> web.StreamResponse:
    """port-forward in a websocket: SPDY bytes inside binary messages, for the runtime's SPDY server."""
    reader, writer, _ = await upgrade(url, PORT_FORWARD)
    try:
        socket = web.WebSocketResponse(protocols=(PORT_FORWARD_TUNNEL,), max_msg_size=0, compress=False)
        await socket.prepare(request)

        async def inward() -> None:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    writer.write(message.data)
                    await writer.drain()

        async def outward() -> None:
            while data := await reader.read(64 * 1024):
                await socket.send_bytes(data)

        await _until_first(inward(), outward())
        with contextlib.suppress(ConnectionError):
            await socket.close()
        return socket
    finally:
        writer.close()


class _RawParser:
    """Put in the place of aiohttp's HTTP parser: from now on bytes are only bytes."""

    def __init__(self, queue: asyncio.Queue[bytes]) -> None:
        self._queue = queue

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._queue.put_nowait(bytes(data))
        return False, b""

    def feed_eof(self) -> None:
        self._queue.put_nowait(b"")


async def pass_through_spdy(request: web.BaseRequest, url: str) -> web.StreamResponse:
    """A client that speaks SPDY/3.1 is joined to the runtime's server byte for byte."""
    offered = ",".join(p.strip() for p in request.headers.getall("X-Stream-Protocol-Version", [])).replace(" ", "")
    # containerd knows up to v4; a client that offers more takes what is chosen.
    reader, writer, chosen = await upgrade(url, offered)
    transport: Any = request.transport
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    protocol: Any = request.protocol
    protocol.set_parser(_RawParser(arrived))
    answer = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    if chosen:
        answer.append(f"X-Stream-Protocol-Version: {chosen}")
    transport.write("\r\n".join([*answer, "", ""]).encode())

    async def inward() -> None:
        while data := await arrived.get():
            writer.write(data)
            await writer.drain()

    async def outward() -> None:
        while data := await reader.read(64 * 1024):
            if transport.is_closing():
                return
            transport.write(data)
            await protocol._drain_helper()

    try:
        await _until_first(inward(), outward())
    finally:
        writer.close()
        protocol.force_close()
        transport.close()
    return web.Response(status=101)


async def _until_first(*jobs: Any) -> None:
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

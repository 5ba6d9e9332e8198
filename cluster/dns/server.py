"""
A DNS server's sockets: UDP and TCP. What is said on them is a responder's business.

Called by   cluster.dns.service and federation.dns_server.service.
"""

import asyncio
import logging
import socket
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from typing import Any, Protocol, cast

log = logging.getLogger(__name__)

MAX_TCP_CONNECTIONS = 256
MAX_TCP_OF_ONE = 64
"""Connections of one address."""
TCP_IDLE = 10.0  # seconds
MAX_TCP_MESSAGE = 65_535
MAX_TCP_PENDING = 65_535 * 2  # bytes a client may send ahead of our answers
MAX_QUERY = 4096  # bytes over UDP
AT_ONCE = 64
"""Questions that are answered before anything else gets its turn."""
RECEIVE_BUFFER = 4 << 20  # bytes: a burst of 10,000 questions waits there instead of being lost

Send = Callable[[bytes], None]


class Responds(Protocol):
    """What the sockets below hand messages to."""

    def respond(self, data: bytes, source: str, send: Send, *, datagram: bool) -> Iterator[bytes] | None:
        """
        Answer one message through `send`, now or later, or not at all. Never raises for what a client sent.

        Returns, over TCP alone, messages that are to follow as fast as the client reads them.
        """

    async def close(self) -> None: ...


class UdpServer:
    """Reads until nothing is left: a fifth less CPU a question than asyncio's datagram transport."""

    def __init__(self, responder: Responds, udp: socket.socket) -> None:
        self._responder = responder
        self._socket = udp
        asyncio.get_running_loop().add_reader(udp.fileno(), self._readable)

    def _readable(self) -> None:
        receive, respond = self._socket.recvfrom, self._responder.respond
        try:
            for _ in range(AT_ONCE):
                data, client = receive(MAX_QUERY)
                if client[1]:
                    respond(data, plain_address(client[0]), partial(self._send, client), datagram=True)
        except BlockingIOError:
            pass
        except OSError as error:
            log.debug("a client went away: %s", error)

    def _send(self, client: tuple[Any, ...], message: bytes) -> None:
        try:
            self._socket.sendto(message, client)
        except OSError as error:  # also a full buffer: the client asks again
            log.debug("cannot answer %s: %s", client, error)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()


class Connections:
    """Those that are open, so that nobody takes all."""

    def __init__(self) -> None:
        self._open: set[TcpConnection] = set()
        self._by_source: Counts[str] = Counts()

    def add(self, connection: "TcpConnection", source: str) -> bool:
        """False: there are too many, of this source or of all."""
        if len(self._open) >= MAX_TCP_CONNECTIONS or self._by_source[source] >= MAX_TCP_OF_ONE:
            return False
        self._open.add(connection)
        self._by_source[source] += 1
        return True

    def discard(self, connection: "TcpConnection", source: str) -> None:
        if connection in self._open:
            self._open.discard(connection)
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]

    def abort_all(self) -> None:
        for connection in list(self._open):
            connection.abort()


class TcpConnection(asyncio.Protocol):
    """Messages with a two-byte length in front, several at a time; closed when idle, or when nothing is read."""

    def __init__(self, responder: Responds, connections: Connections) -> None:
        self._responder = responder
        self._connections = connections
        self._buffer = bytearray()
        self._source = ""
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._following: Iterator[bytes] | None = None
        self._paused = False
        self._unread = 0
        """Bytes that waited for the client when the idle timer was set."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._source = plain_address((transport.get_extra_info("peername") or ("",))[0])
        if not self._connections.add(self, self._source):
            self._transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self, self._source)
        self._transport = self._following = None
        if self._idle is not None:
            self._idle.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._unread = self._transport.get_write_buffer_size() if self._transport is not None else 0
        self._idle = asyncio.get_running_loop().call_later(TCP_IDLE, self._idled)

    def _idled(self) -> None:
        if self._transport is not None and 0 < self._transport.get_write_buffer_size() < self._unread:
            self._wait()  # a slow reader of a long answer
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._answer()
        if len(self._buffer) > MAX_TCP_PENDING:
            self.abort()  # asks on and on while a long answer is being sent

    def _answer(self) -> None:
        """What was asked, one after the other; a long answer is sent to its end before the next one."""
        buffer = self._buffer
        while self._following is None and len(buffer) >= 2:
            size = buffer[0] << 8 | buffer[1]
            if len(buffer) < 2 + size:
                break
            message = bytes(buffer[2 : 2 + size])
            del buffer[: 2 + size]
            self._wait()
            if self._transport is not None and self._transport.get_write_buffer_size() > MAX_TCP_PENDING:
                self.abort()  # asks without reading
                return
            self._following = self._responder.respond(message, self._source, self._send, datagram=False)
            self._follow()

    def _follow(self) -> None:
        while self._following is not None and not self._paused:
            message = next(self._following, None)
            if message is None:
                self._following = None
            else:
                self._send(message)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wait()
        if self._following is not None:
            self._follow()
            self._answer()

    def _send(self, message: bytes) -> None:
        if self._transport is not None:
            self._transport.write(len(message).to_bytes(2, "big") + message)


def plain_address(source: str) -> str:
    """An IPv4 client of an IPv6 socket by its own address."""
    return source.removeprefix("::ffff:") if source.startswith("::ffff:") and "." in source else source


class DnsServer:
    """Listens on one address, UDP and TCP, for the length of `async with`. `::` takes IPv4, too."""

    def __init__(self, responder: Responds, address: str, port: int) -> None:
        self._responder = responder
        self._address = address
        self.port = port
        self._udp: UdpServer | None = None
        self._tcp: asyncio.Server | None = None
        self._connections = Connections()

    async def __aenter__(self) -> "DnsServer":
        """Raises OSError when the port is taken or the address is not this host's."""
        loop = asyncio.get_running_loop()
        listener = self._bound(socket.SOCK_STREAM)
        self._tcp = await loop.create_server(
            lambda: TcpConnection(self._responder, self._connections), sock=listener, backlog=128
        )
        self.port = listener.getsockname()[1]
        try:
            self._udp = UdpServer(self._responder, self._bound(socket.SOCK_DGRAM))
        except OSError:
            self._tcp.close()
            raise
        return self

    def _bound(self, kind: socket.SocketKind) -> socket.socket:
        version = ip_address(self._address).version
        # asyncio sets TCP_NODELAY where the protocol is named, and answers wait 40 ms without it
        protocol = socket.IPPROTO_UDP if kind == socket.SOCK_DGRAM else socket.IPPROTO_TCP
        made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind, protocol)
        try:
            made.setblocking(False)
            if kind == socket.SOCK_DGRAM:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            else:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if version == 6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.bind((self._address, self.port))
        except OSError:
            made.close()
            raise
        return made

    async def __aexit__(self, *_: object) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        self._connections.abort_all()
        await self._responder.close()

"""
The DNS server on its sockets: UDP and TCP, authoritative for the cluster, forwarding for the rest.

A question that was asked before is answered without being parsed. Nothing a client sends raises out of here.
Called by   cluster.dns.service; the records are zone.py's, the bytes wire.py's.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import Protocol, cast

from cluster.client.metrics import Counter
from cluster.dns.access import Access
from cluster.dns.forwarding import Forwarder, Reply, reply_message
from cluster.dns.wire import (
    HEADER,
    Answer,
    BadQuery,
    Query,
    Rcode,
    Record,
    Type,
    parse_query,
    query_flags,
    refusal,
)
from cluster.dns.zone import Zone

log = logging.getLogger(__name__)

ANSWERED = Counter("coredns_dns_responses_total", "Answers by rcode, those from compiled bytes aside.", ("rcode",))

MAX_TCP_CONNECTIONS = 256
TCP_IDLE = 10.0  # seconds
MAX_TCP_MESSAGE = 65_535
MAX_TCP_PENDING = 65_535 * 2  # bytes a client may send ahead of our answers
RECEIVE_BUFFER = 4 << 20  # bytes: a burst of 10,000 questions waits there instead of being lost

_PLAIN = b"\x00\x01\x00\x00\x00\x00\x00\x00"
_WITH_OPT = b"\x00\x01\x00\x00\x00\x00\x00\x01"
_OPT_START = b"\x00\x00\x29"
_OPT_END = b"\x00\x00\x00\x00\x00\x00"  # no extended rcode, version 0, no flags, no options
_OPT_ANSWER = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"

Send = Callable[[bytes], None]


class Responds(Protocol):
    """What the sockets below hand messages to."""

    def respond(self, data: bytes, source: str, send: Send, *, datagram: bool) -> None: ...

    async def close(self) -> None: ...


class Responder:
    """Questions in, messages out, whatever the transport."""

    def __init__(self, zone: Zone, forwarder: Forwarder, access: Access) -> None:
        self._zone = zone
        self._forwarder = forwarder
        self._access = access
        self._tasks: set[asyncio.Task[None]] = set()
        self.fast_answers = 0

    def respond(self, data: bytes, source: str, send: Send, *, datagram: bool) -> None:
        """Answer one message through `send`, now or later. Never raises for what a client sent."""
        message = self._spliced(data, datagram)
        if message is not None:
            send(message)
            return
        try:
            query = parse_query(data)
        except BadQuery as bad:
            refused = refusal(data, bad)
            if refused is not None:
                ANSWERED.inc("FORMERR" if bad.rcode is None else bad.rcode.name)
                send(refused)
            return
        answer = self._zone.answer(query.name, query.type, query.key)
        if answer is not None and not _leads_outside(answer, query.type):
            ANSWERED.inc(answer.rcode.name)
            send(self._whole(query, answer, datagram))
            return
        if not self._access.may_recurse(source):
            if answer is None:
                answer = Answer(query.name, Rcode.REFUSED, authoritative=False)
            ANSWERED.inc(answer.rcode.name)
            send(self._whole(query, answer, datagram))
            return
        self._forward(query, answer, send, datagram)

    def _spliced(self, data: bytes, datagram: bool) -> bytes | None:
        """The answer from compiled bytes, or None when the long way has to be taken."""
        size = len(data)
        if size < 17 or data[2] & 0xFE:
            return None
        counts = data[4:12]
        if counts == _PLAIN:
            question, opt, room = data[12:], b"", 512
        elif counts == _WITH_OPT and data[-11:-8] == _OPT_START and data[-6:] == _OPT_END:
            question, opt = data[12:-11], _OPT_ANSWER
            room = min(max(data[-8] << 8 | data[-7], 512), 1232)
        else:
            return None
        answer = self._zone.compiled(question[:-4].lower() + question[-4:])
        if answer is None or answer.leads_outside:
            return None
        if datagram and HEADER + len(question) + answer.longest + len(opt) > room:
            return None
        self.fast_answers += 1
        return answer.message(data[:2], (data[2] & 1) | (data[3] & 0x10) >> 3, question, opt)

    def _whole(self, query: Query, answer: Answer, datagram: bool) -> bytes:
        message = answer.message(query.identity, query_flags(query), query.question, query.opt)
        return answer.truncated(query) if datagram and len(message) > query.payload else message

    def _forward(self, query: Query, prefix: Answer | None, send: Send, datagram: bool) -> None:
        cached = self._forwarder.cached(query.key) if prefix is None else None
        room = query.payload if datagram else MAX_TCP_MESSAGE
        if cached is not None:
            send(reply_message(query, *cached, room=room))
            return
        task = asyncio.create_task(self._answer_later(query, prefix, send, datagram, room))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_later(self, query: Query, prefix: Answer | None, send: Send, datagram: bool, room: int) -> None:
        if prefix is not None:
            send(self._whole(query, await self._chase(prefix, query), datagram))
            return
        found = await self._forwarder.resolve(query.key)
        if found is None:
            ANSWERED.inc("SERVFAIL")
            send(self._whole(query, Answer(query.name, Rcode.SERVFAIL, authoritative=False), datagram))
        else:
            send(reply_message(query, *found, room=room))

    async def _chase(self, prefix: Answer, query: Query) -> Answer:
        """The answer with what is behind a CNAME out of the cluster: stub resolvers do not follow one."""
        target = prefix.answers[-1].rdata
        found = await self._forwarder.resolve(target + query.question[-4:])
        if found is None:
            return prefix
        records = read_answers(target, query.question[-4:], found[0], found[1])
        return Answer(query.name, Rcode.NOERROR, [*prefix.answers, *records])

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _leads_outside(answer: Answer, qtype: int) -> bool:
    return answer.leads_outside and qtype != Type.CNAME


def read_answers(name: bytes, tail: bytes, reply: Reply, age: int) -> list[Record]:
    """
    The CNAME and address records of a resolver's reply, names unpacked, so that they can stand in another message.

    `name` and `tail` are the question they answered. Records of other types, and garbled ones, are left away.
    """
    message = b"\0" * HEADER + name + tail + reply.body
    offset = HEADER + len(name) + len(tail)
    records: list[Record] = []
    for _ in range(int.from_bytes(reply.counts[:2], "big")):
        read = _read_name(message, offset)
        if read is None:
            break
        owner, offset = read
        rtype, _, ttl, length = struct.unpack_from("!HHIH", message, offset)
        offset += 10
        rdata: bytes | None = message[offset : offset + length]
        if rtype == Type.CNAME:
            target = _read_name(message, offset)
            rdata = target[0] if target else None
        elif rtype not in (Type.A, Type.AAAA):
            rdata = None
        if rdata is not None:
            records.append(Record(owner, rtype, max(0, ttl - age), rdata))
        offset += length
    return records


def _read_name(message: bytes, offset: int) -> tuple[bytes, int] | None:
    """(name in lower case, offset behind it) with pointers followed; None when they go forward or in a circle."""
    out = bytearray()
    after = 0
    limit = offset
    while True:
        if offset >= len(message) or len(out) > 255:
            return None
        length = message[offset]
        if length & 0xC0 == 0xC0:
            if offset + 1 >= len(message):
                return None
            after = after or offset + 2
            offset = (length & 0x3F) << 8 | message[offset + 1]
            if offset >= limit:
                return None
            limit = offset
            continue
        if length & 0xC0:
            return None
        out += message[offset : offset + 1 + length]
        offset += 1 + length
        if not length:
            return bytes(out).lower(), after or offset


class UdpServer(asyncio.DatagramProtocol):
    def __init__(self, responder: Responds) -> None:
        self._responder = responder
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        transport = self._transport
        if transport is None or not addr[1]:
            return

        def send(message: bytes) -> None:
            transport.sendto(message, addr)

        self._responder.respond(data, addr[0], send, datagram=True)

    def error_received(self, exc: Exception) -> None:
        log.debug("a client went away: %s", exc)


class TcpConnection(asyncio.Protocol):
    """Messages with a two-byte length in front, several at a time; closed when idle."""

    def __init__(self, responder: Responds, connections: "set[TcpConnection]") -> None:
        self._responder = responder
        self._connections = connections
        self._buffer = bytearray()
        self._source = ""
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._connections) >= MAX_TCP_CONNECTIONS:
            self._transport.abort()
            return
        self._connections.add(self)
        self._source = (transport.get_extra_info("peername") or ("",))[0]
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._transport = None
        if self._idle is not None:
            self._idle.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(TCP_IDLE, self.abort)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 2:
            size = buffer[0] << 8 | buffer[1]
            if len(buffer) < 2 + size:
                break
            message = bytes(buffer[2 : 2 + size])
            del buffer[: 2 + size]
            self._wait()
            if self._transport is not None and self._transport.get_write_buffer_size() > MAX_TCP_PENDING:
                self.abort()  # asks without reading
                return
            self._responder.respond(message, self._source, self._send, datagram=False)

    def _send(self, message: bytes) -> None:
        if self._transport is not None:
            self._transport.write(len(message).to_bytes(2, "big") + message)


class DnsServer:
    """Listens on one address, UDP and TCP, for the length of `async with`."""

    def __init__(self, responder: Responds, address: str, port: int) -> None:
        self._responder = responder
        self._address = address
        self.port = port
        self._udp: asyncio.BaseTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: set[TcpConnection] = set()

    async def __aenter__(self) -> "DnsServer":
        """Raises OSError when the port is taken or the address is not this host's."""
        loop = asyncio.get_running_loop()
        self._tcp = await loop.create_server(
            lambda: TcpConnection(self._responder, self._connections), self._address, self.port, backlog=128
        )
        self.port = self._tcp.sockets[0].getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.setblocking(False)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            udp.bind((self._address, self.port))
            self._udp, _ = await loop.create_datagram_endpoint(lambda: UdpServer(self._responder), sock=udp)
        except OSError:
            udp.close()
            self._tcp.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for connection in list(self._connections):
            connection.abort()
        await self._responder.close()

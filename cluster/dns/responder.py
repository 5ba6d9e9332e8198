"""
The cluster's answers: authoritative for its names, forwarding for the rest.

A question that was asked before is answered without being parsed. Nothing a client sends raises out of here.
Called by   the sockets of cluster.dns.server; the records are zone.py's, the bytes wire.py's.
"""

import asyncio
import struct

from cluster.client.metrics import Counter
from cluster.dns.access import Access
from cluster.dns.forwarding import Reply, reply_message
from cluster.dns.routes import Routes
from cluster.dns.server import MAX_TCP_MESSAGE, Send
from cluster.dns.splicing import fits, read_ordinary
from cluster.dns.wire import HEADER, Answer, BadQuery, Query, Rcode, Record, Type, parse_query, query_flags, refusal
from cluster.dns.zone import Zone

ANSWERED = Counter("coredns_dns_responses_total", "Answers by rcode, those from compiled bytes aside.", ("rcode",))


class Responder:
    """Questions in, messages out, whatever the transport."""

    def __init__(self, zone: Zone, forwarder: Routes, access: Access) -> None:
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
        asked = read_ordinary(data)
        if asked is None:
            return None
        answer = self._zone.compiled(asked.key)
        if answer is None or answer.leads_outside or (datagram and not fits(asked, answer)):
            return None
        self.fast_answers += 1
        return answer.message(data[:2], asked.flags, asked.question, asked.opt)

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

"""
Names outside the cluster: ask the resolvers of /etc/resolv.conf, keep what they say for a while.

One socket and one random ID a question (both have to be guessed to forge an answer); equal questions that are
under way share one. Answers are kept as bytes, their TTLs lowered when they are given out.
"""

import asyncio
import logging
import secrets
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.client.metrics import Counter
from cluster.dns.names import name_end
from cluster.dns.wire import HEADER, MAX_UDP_EDNS, Query, Rcode, Type, build_query

log = logging.getLogger(__name__)

FORWARDED = Counter("coredns_forward_requests_total", "Questions sent to other resolvers.", ("to",))
CACHE_HITS = Counter("coredns_cache_hits_total", "Answers given from the cache.", ("type",))

MAX_TTL = 30  # seconds: as the Corefile of kubeadm, `cache 30`
MIN_TTL = 1  # seconds
MAX_ENTRIES = 10_000
TRY_TIMEOUT = 1.5  # seconds a resolver gets before the next one is asked
MAX_TRIES = 3
MAX_IN_FLIGHT = 1000
"""Questions under way; more are refused, as CoreDNS' max_concurrent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What follows the question in somebody else's answer."""

    flags: int
    """Second flags byte: RA, AD, rcode."""
    counts: bytes
    """ANCOUNT and NSCOUNT; the additional section is left away with its OPT."""
    body: bytes
    ttl_offsets: tuple[int, ...]
    """Where in `body` the TTLs are."""
    ttl: int
    """Seconds it may be kept."""
    authoritative_denial: bool

    def aged(self, seconds: int) -> bytes:
        if not seconds:
            return self.body
        body = bytearray(self.body)
        for offset in self.ttl_offsets:
            (ttl,) = struct.unpack_from("!I", body, offset)
            struct.pack_into("!I", body, offset, max(0, ttl - seconds))
        return bytes(body)


class BadReply(Exception):
    """Not an answer to our question."""


def parse_reply(data: bytes, identity: int, question: bytes) -> tuple[Reply, bool]:
    """
    (reply, whether it was truncated) of a resolver's packet; the records' bytes stay as they are, since the question
    in front of them, which their pointers aim at, keeps its length.

    Raises:
        BadReply: forged, garbled, or something else's answer.
    """
    if len(data) < HEADER + len(question) or int.from_bytes(data[:2], "big") != identity or not data[2] & 0x80:
        raise BadReply("not an answer to our ID")
    qd, an, ns, _ = struct.unpack("!HHHH", data[4:HEADER])
    end = HEADER + len(question)
    if qd != 1 or data[HEADER : end - 4].lower() + data[end - 4 : end] != question:
        raise BadReply("an answer to another question")
    offsets, ttls, minimum, offset = [], [], None, end
    for index in range(an + ns):
        behind = name_end(data, offset)
        if behind is None:
            raise BadReply("a name is cut off")
        offset = behind
        if offset + 10 > len(data):
            raise BadReply("a record is cut off")
        rtype, _, ttl, length = struct.unpack_from("!HHIH", data, offset)
        offsets.append(offset + 4 - end)
        ttls.append(ttl)
        if rtype == Type.SOA and index >= an and offset + 10 + length <= len(data) and length >= 20:
            (minimum,) = struct.unpack_from("!I", data, offset + 6 + length)
        offset += 10 + length
        if offset > len(data):
            raise BadReply("a record is cut off")
    rcode = data[3] & 0x0F
    if rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        keep = 0
    elif an:
        keep = min(ttls[:an])
    else:
        # A denial without an SOA must not be kept: RFC 2308 §5.
        keep = 0 if minimum is None else min(minimum, *ttls)
    reply = Reply(
        flags=0x80 | (data[3] & 0x2F),
        counts=data[6:10],
        body=data[end:offset],
        ttl_offsets=tuple(offsets),
        ttl=min(keep, MAX_TTL),
        authoritative_denial=rcode == Rcode.NXDOMAIN or not an,
    )
    return reply, bool(data[2] & 0x02)


class _OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, identity: int, question: bytes) -> None:
        self._identity, self._question = identity, question
        self.reply: asyncio.Future[tuple[Reply, bool]] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.reply.done():
            return
        try:
            self.reply.set_result(parse_reply(data, self._identity, self._question))
        except BadReply as bad:
            log.debug("ignored a packet from %s: %s", addr, bad)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


class Forwarder:
    """
    Args:
        resolvers: (address, port) in the order they are asked; empty: every question fails.
    """

    def __init__(self, resolvers: Sequence[tuple[str, int]]) -> None:
        self.resolvers = tuple(resolvers)
        self._first = 0
        self._kept: dict[bytes, tuple[float, Reply]] = {}
        self._under_way: dict[bytes, asyncio.Task[Reply | None]] = {}

    def cached(self, key: bytes) -> tuple[Reply, int] | None:
        """A reply that is still good and its age in seconds."""
        held = self._kept.get(key)
        if held is None:
            return None
        age = time.monotonic() - held[0]
        if age >= held[1].ttl:
            del self._kept[key]
            return None
        CACHE_HITS.inc("denial" if held[1].authoritative_denial else "success")
        return held[1], int(age)

    async def resolve(self, key: bytes) -> tuple[Reply, int] | None:
        """The reply and its age; None when no resolver gave one (answer SERVFAIL). `key`: lower-cased question."""
        held = self.cached(key)
        if held is not None:
            return held
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= MAX_IN_FLIGHT:
                return None
            task = self._under_way[key] = asyncio.create_task(self._ask(key))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # One impatient client must not take the answer from the others.
        reply = await asyncio.shield(task)
        return None if reply is None else (reply, 0)

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: bytes) -> Reply | None:
        best: Reply | None = None
        for attempt in range(MAX_TRIES if self.resolvers else 0):
            resolver = self.resolvers[(self._first + attempt) % len(self.resolvers)]
            FORWARDED.inc(resolver[0])
            try:
                async with asyncio.timeout(TRY_TIMEOUT):
                    reply = await _exchange(resolver, key)
            except (OSError, TimeoutError, BadReply, asyncio.IncompleteReadError) as error:
                log.debug("resolver %s did not answer: %r", resolver, error)
                continue
            if reply.flags & 0x0F in (Rcode.NOERROR, Rcode.NXDOMAIN):
                self._first = (self._first + attempt) % len(self.resolvers)
                self._keep(key, reply)
                return reply
            best = reply
        return best

    def _keep(self, key: bytes, reply: Reply) -> None:
        if reply.ttl < MIN_TTL:
            return
        if len(self._kept) >= MAX_ENTRIES:
            # Oldest first: dictionaries keep their order, and nothing is kept longer than MAX_TTL anyway.
            for old in list(self._kept)[: MAX_ENTRIES // 10]:
                del self._kept[old]
        self._kept[key] = (time.monotonic(), reply)


async def _exchange(resolver: tuple[str, int], key: bytes) -> Reply:
    loop = asyncio.get_running_loop()
    identity = secrets.randbelow(1 << 16)
    packet = build_query(identity, key[:-4], int.from_bytes(key[-4:-2], "big"), payload=MAX_UDP_EDNS)
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _OneAnswer(identity, key),
        remote_addr=resolver,
        family=socket.AF_INET6 if ":" in resolver[0] else socket.AF_INET,
    )
    try:
        transport.sendto(packet)
        reply, truncated = await protocol.reply
    finally:
        transport.close()
    return await _exchange_tcp(resolver, packet, identity, key) if truncated else reply


async def _exchange_tcp(resolver: tuple[str, int], packet: bytes, identity: int, key: bytes) -> Reply:
    reader, writer = await asyncio.open_connection(*resolver)
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply, _ = parse_reply(await reader.readexactly(size), identity, key)
    finally:
        writer.close()
    return reply


def reply_message(query: Query, reply: Reply, age: int, *, room: int) -> bytes:
    """The message for the client that asked; with TC and no records when it exceeds `room` bytes."""
    head = 0x80 | query.recursion_desired
    extra = b"\0\1" if query.opt else b"\0\0"
    size = HEADER + len(query.question) + len(reply.body) + len(query.opt)
    if size > room:
        counts, body, head = b"\0\0\0\0", b"", head | 0x02
    else:
        counts, body = reply.counts, reply.aged(age)
    flags = (reply.flags & ~0x10 & 0xFF) | query.checking_disabled
    return b"".join((query.identity, bytes((head, flags)), b"\0\1", counts, extra, query.question, body, query.opt))


def read_resolvers(path: Path, own: str) -> list[tuple[str, int]]:
    """The IPv4 `nameserver` lines of a resolv.conf, without ourselves; a missing file names none."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        log.warning("%s does not exist: names outside the cluster cannot be resolved", path)
        return []
    found = [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]
    return [(address, 53) for address in dict.fromkeys(found) if address != own and ":" not in address]

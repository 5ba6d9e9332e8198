"""
Questions in, answers of the federation's zone out. Nothing a client sends raises out of here.

A question that was asked before is answered without being parsed.
Called by   the sockets of cluster.dns.server.
"""

import struct
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

from cluster.client.metrics import Counter
from cluster.dns.wire import HEADER, Answer, BadQuery, Query, parse_query, query_flags, refusal
from federation.dns_server.client_subnet import ClientSubnet, read_client_subnet
from federation.dns_server.zone import FederationZone, Tailored

ANSWERED = Counter("federation_dns_responses_total", "Answers by rcode, those from compiled bytes aside.", ("rcode",))
LIMITED = Counter("federation_dns_rate_limited_total", "Questions that went unanswered, or were sent to TCP.")

_PLAIN = b"\x00\x01\x00\x00\x00\x00\x00\x00"
_WITH_OPT = b"\x00\x01\x00\x00\x00\x00\x00\x01"
_OPT_START = b"\x00\x00\x29"
_OPT_END = b"\x00\x00\x00\x00\x00\x00"  # no extended rcode, version 0, no flags, no options
_OPT_ANSWER = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
MAX_SOURCES = 65_536

Send = Callable[[bytes], None]


class RateLimit:
    """
    Answers a second to one source over UDP, whose address may be forged; 0: as many as are asked for.

    Of what is too much, every second question is told to come over TCP, which a real client can.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._second = -1
        self._seen: dict[str, int] = {}

    def admits(self, source: str) -> tuple[bool, bool]:
        """(answer it, else: tell it to use TCP)."""
        if not self.limit:
            return True, False
        second = int(self._clock())
        if second != self._second or len(self._seen) >= MAX_SOURCES:
            self._second = second
            self._seen.clear()
        count = self._seen[source] = self._seen.get(source, 0) + 1
        return count <= self.limit, count % 2 == 0


class FederationResponder:
    def __init__(self, zone: FederationZone, limit: RateLimit) -> None:
        self._zone = zone
        self._limit = limit
        self.fast_answers = 0

    def respond(self, data: bytes, source: str, send: Send, *, datagram: bool) -> None:
        """Answer one message through `send`, or not at all."""
        if datagram:
            admitted, over_tcp = self._limit.admits(source)
            if not admitted:
                LIMITED.inc()
                if over_tcp:
                    self._send_to_tcp(data, send)
                return
        message = self._spliced(data, source, datagram)
        if message is None:
            message = self._read_and_answer(data, source, datagram)
        if message is not None:
            send(message)

    async def close(self) -> None:
        """Nothing is under way: every answer is given at once."""

    def _spliced(self, data: bytes, source: str, datagram: bool) -> bytes | None:
        if len(data) < 17 or data[2] & 0xFE:
            return None
        counts = data[4:12]
        if counts == _PLAIN:
            question, opt, room = data[12:], b"", 512
        elif counts == _WITH_OPT and data[-11:-8] == _OPT_START and data[-6:] == _OPT_END:
            question, opt = data[12:-11], _OPT_ANSWER
            room = min(max(data[-8] << 8 | data[-7], 512), 1232)
        else:
            return None
        found = self._zone.compiled(question[:-4].lower() + question[-4:])
        if found is None:
            return None
        answer = found if isinstance(found, Answer) else self._choose(found, source, None)
        if datagram and HEADER + len(question) + answer.longest + len(opt) > room:
            return None
        self.fast_answers += 1
        return answer.message(data[:2], (data[2] & 1) | (data[3] & 0x10) >> 3, question, opt)

    def _read_and_answer(self, data: bytes, source: str, datagram: bool) -> bytes | None:
        try:
            query = parse_query(data)
            subnet = _subnet_of(data, query)
        except BadQuery as bad:
            ANSWERED.inc("FORMERR" if bad.rcode is None else bad.rcode.name)
            return refusal(data, bad)
        found = self._zone.compiled(query.key) or self._zone.answer(query.name, query.type, query.key)
        if isinstance(found, Answer):
            answer, tailored = found, False
        else:
            answer, tailored = self._choose(found, source, subnet), found.by_place
        if subnet is not None:
            query = replace(query, opt=subnet.option(tailored=tailored))
        ANSWERED.inc(answer.rcode.name)
        message = answer.message(query.identity, query_flags(query), query.question, query.opt)
        return answer.truncated(query) if datagram and len(message) > query.payload else message

    def _choose(self, tailored: Tailored, source: str, subnet: ClientSubnet | None) -> Answer:
        if not tailored.by_place:
            return tailored.choose(None)
        return tailored.choose(subnet.address if subnet else ip_address(source))

    def _send_to_tcp(self, data: bytes, send: Send) -> None:
        try:
            query = parse_query(data)
        except BadQuery:
            return
        flags = struct.pack("!BB", 0x86 | query.recursion_desired, 0)
        send(query.identity + flags + b"\0\1\0\0\0\0\0\0" + query.question)


def _subnet_of(data: bytes, query: Query) -> ClientSubnet | None:
    """Raises BadQuery, with what is needed to answer."""
    options = data[HEADER + len(query.question) + 11 :]
    if not options:
        return None
    try:
        return read_client_subnet(options)
    except BadQuery as bad:
        raise BadQuery(bad.rcode, query.opt, query.question) from bad

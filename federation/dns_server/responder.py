"""
Questions in, answers of the federation's zone out. Nothing a client sends raises out of here.

A question that was asked before is answered without being parsed.
Called by   the sockets of cluster.dns.server.
"""

import logging
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address

from cluster.client.metrics import Counter
from cluster.dns.server import Send
from cluster.dns.splicing import fits, read_ordinary
from cluster.dns.wire import HEADER, Answer, BadQuery, Query, Rcode, Type, parse_query, query_flags, refusal
from federation.dns_server.client_subnet import ClientSubnet, read_client_subnet
from federation.dns_server.rate_limit import Admission, RateLimit
from federation.dns_server.transfer import (
    TransferRequest,
    differences,
    is_current,
    messages,
    read_transfer,
    size_of,
)
from federation.dns_server.tsig import KeyRing, Refused, Verified, find_tsig
from federation.dns_server.zone import APEX_TTL, FederationZone, Tailored

log = logging.getLogger(__name__)

ANSWERED = Counter("federation_dns_responses_total", "Answers by rcode, those from compiled bytes aside.", ("rcode",))
LIMITED = Counter("federation_dns_rate_limited_total", "Questions that went unanswered, or were sent to TCP.")
TRANSFERS = Counter("federation_dns_transfers_total", "Requests for the whole zone or its changes.", ("result",))
SIGNATURES = Counter("federation_dns_refused_signatures_total", "Signed messages not accepted, by why.", ("error",))

WARN_EACH = 5.0  # seconds
Served = Callable[[str, int], None]


class FederationResponder:
    """
    Args:
        keys: whose signatures count; without any, nothing is transferred.
        may_transfer: whether an address may have the whole zone; its request has to be signed besides.
        served: hears (address, serial) when a signed request was told the zone's serial.
    """

    def __init__(
        self,
        zone: FederationZone,
        limit: RateLimit,
        keys: KeyRing | None = None,
        may_transfer: Callable[[str], bool] = lambda _: True,
        served: Served = lambda _address, _serial: None,
    ) -> None:
        self._zone = zone
        self._limit = limit
        self._keys = keys or KeyRing(())
        self._may_transfer = may_transfer
        self._served = served
        self.fast_answers = 0
        self._quiet_until = 0.0

    def respond(self, data: bytes, source: str, send: Send, *, datagram: bool) -> Iterator[bytes] | None:
        """See cluster.dns.server.Responds."""
        if datagram:
            admission = self._limit.admits(source)
            if admission is not Admission.ANSWER:
                LIMITED.inc()
                if admission is Admission.OVER_TCP:
                    self._send_to_tcp(data, send)
                return None
        message = self._spliced(data, source, datagram)
        if message is not None:
            send(message)
            return None
        try:
            return self._answer(data, source, send, datagram)
        except BadQuery as bad:
            ANSWERED.inc("FORMERR" if bad.rcode is None else bad.rcode.name)
            refused = refusal(data, bad)
            if refused is not None:
                send(refused)
            return None

    async def close(self) -> None:
        """Nothing is under way: every answer is given at once."""

    def _spliced(self, data: bytes, source: str, datagram: bool) -> bytes | None:
        asked = read_ordinary(data)
        if asked is None:
            return None
        found = self._zone.compiled(asked.key)
        if found is None:
            return None
        answer = found if isinstance(found, Answer) else self._choose(found, source, None)
        if datagram and not fits(asked, answer):
            return None
        self.fast_answers += 1
        return answer.message(data[:2], asked.flags, asked.question, asked.opt)

    def _answer(self, data: bytes, source: str, send: Send, datagram: bool) -> Iterator[bytes] | None:
        """Raises BadQuery."""
        if len(data) < HEADER or data[2] & 0x80:
            raise BadQuery(None)
        verified, signer = None, None
        at = find_tsig(data)
        if at is not None:
            try:
                verified = self._keys.verify(data, at)
            except Refused as refused:
                SIGNATURES.inc(refused.error.name)
                self._warn("a signed message of %s is not accepted: %s", source, refused.error.name)
                send(refused.response)
                return None
            data, signer = verified.message, self._keys.signer(verified)
        try:
            request = read_transfer(data)
            if request is not None:
                return self._transfer(request, verified, source, send, datagram)
            message = self._plain(data, source, datagram, signer.size if signer else 0)
        except BadQuery as bad:
            if signer is None:
                raise
            ANSWERED.inc("FORMERR" if bad.rcode is None else bad.rcode.name)
            message = refusal(data, bad) or b""
        if message:
            send(signer.sign(message) if signer else message)
        return None

    def _plain(self, data: bytes, source: str, datagram: bool, taken: int) -> bytes:
        """The answer to a question, with `taken` bytes of the room left free. Raises BadQuery."""
        query = parse_query(data)
        subnet = _subnet_of(data, query)
        found = self._zone.compiled(query.key) or self._zone.answer(query.name, query.type, query.key)
        if isinstance(found, Answer):
            answer, tailored = found, False
        else:
            answer, tailored = self._choose(found, source, subnet), found.by_place
        if subnet is not None:
            query = replace(query, opt=subnet.option(tailored=tailored))
        if taken:
            query = replace(query, payload=query.payload - taken)
            if query.type == Type.SOA and answer.rcode is Rcode.NOERROR:
                self._served(source, self._zone.serial)
        ANSWERED.inc(answer.rcode.name)
        message = answer.message(query.identity, query_flags(query), query.question, query.opt)
        return answer.truncated(query) if datagram and len(message) > query.payload else message

    def _transfer(
        self, request: TransferRequest, verified: Verified | None, source: str, send: Send, datagram: bool
    ) -> Iterator[bytes] | None:
        why = self._why_not(request, source, datagram) if verified else "it is not signed with a transfer key"
        if verified is None or why:
            TRANSFERS.inc("refused")
            self._warn("no transfer to %s: %s", source, why)
            rcode = Rcode.REFUSED if self._zone.synced else Rcode.SERVFAIL
            raise BadQuery(rcode, request.opt, request.question)
        signer = self._keys.signer(verified)
        self._served(source, self._zone.serial)
        soa = self._zone.soa(APEX_TTL)
        if datagram or is_current(request, self._zone.serial):
            # Over UDP our SOA says whether it is worth to ask over TCP (RFC 1995 §2).
            send(signer.sign(next(messages(request, [soa]))))
            return None
        changes = None if request.serial is None else self._zone.history.since(request.serial)
        if changes is None or size_of(changes) > self._zone.names:
            TRANSFERS.inc("everything")
            return map(signer.sign, messages(request, [*self._zone.records(), soa]))
        TRANSFERS.inc("changes")
        return map(signer.sign, messages(request, differences(soa, changes)))

    def _why_not(self, request: TransferRequest, source: str, datagram: bool) -> str:
        """Empty: it may have the zone."""
        if request.zone != self._zone.apex:
            return "it asks for another zone"
        if not self._zone.synced:
            return "the zone is not complete yet"
        if not self._may_transfer(source):
            return "the address is not among those that may transfer"
        return "everything does not go over UDP" if datagram and request.serial is None else ""

    def _warn(self, text: str, *values: str) -> None:
        """Anybody can cause these: one in a while is enough to find a mistake by, and does not fill the disk."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + WARN_EACH
            log.warning(text, *values)

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

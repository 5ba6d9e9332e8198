"""
Name servers that copy a zone from its primary: whether they have the zone, and how long changes take to reach them.

A change counts as done when the primary has it; one that a follower does not show is told, because half of the
world may be asking there.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from cluster.client.metrics import Gauge
from federation.dns.plan import content
from federation.dns.recordsets import Group, RecordSet, Target

log = logging.getLogger(__name__)

LAG = Gauge("federation_dns_secondary_lag_seconds", "Of the last change looked at, by name server.", ("server",))
TIMEOUT = 2.0  # seconds a question
FIRST_LOOK, LAST_LOOK = 0.05, 1.0  # seconds between looks
PATIENCE = 15.0  # seconds until a change that does not show is told; the SOA's refresh may take much longer
TYPES = ("A", "AAAA", "CNAME")


class Server(NamedTuple):
    """By IP address."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        return f"DNS server {self.address} port {self.port}"


class Followers:
    """`run` in a task. Of changes that come faster than they are looked at, the last of a name counts."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._expected: dict[str, tuple[Group, float]] = {}
        self._wake = asyncio.Event()

    async def check(self, zone: dns.name.Name) -> Sequence[str]:
        """Doubts, in words."""
        answers = await asyncio.gather(*(_ask(server, zone.to_text(), "SOA") for server in self._servers))
        return [
            f"{server} does not answer for {zone}: {why or 'it has no SOA there'}"
            for server, (why, values) in zip(self._servers, answers, strict=True)
            if why or not values
        ]

    def expect(self, name: str, group: Group) -> None:
        """The primary has this now."""
        if self._servers:
            self._expected[name] = (group, time.monotonic())
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            while self._expected:
                name = next(iter(self._expected))
                looked_for = self._expected[name]
                await asyncio.gather(*(self._look(server, name) for server in self._servers))
                if self._expected[name] is looked_for:
                    del self._expected[name]
            self._wake.clear()

    async def _look(self, server: Server, name: str) -> None:
        pause = FIRST_LOOK
        while True:
            group, since = self._expected[name]
            why, shown = await _group(server, name)
            waited = time.monotonic() - since
            if not why and content(shown) == content(group):
                LAG.set(waited, str(server))
                return
            if waited >= PATIENCE:
                LAG.set(waited, str(server))
                log.warning("%s does not show the change of %s after %.0f s: %s", server, name, waited,
                            why or "is it notified, and may it transfer the zone?")  # fmt: skip
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)


async def _group(server: Server, name: str) -> tuple[str, Group]:
    found: Group = {}
    for rtype in TYPES:
        why, records = await _ask(server, name, rtype)
        if why:
            return why, {}
        if records:
            found[rtype] = RecordSet(name, rtype, records[0][0], tuple(Target(value) for _, value in records))
    return "", found


async def _ask(server: Server, name: str, rtype: str) -> tuple[str, list[tuple[int, str]]]:
    """(why not, (TTL, value) at exactly this name)."""
    query = dns.message.make_query(name, rtype, flags=0)
    try:
        answer, _ = await dns.asyncquery.udp_with_fallback(query, server.address, timeout=TIMEOUT, port=server.port)
    except (OSError, EOFError, dns.exception.DNSException) as error:
        return f"{type(error).__name__}: {error}".rstrip(": "), []
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return f"it answers {dns.rcode.to_text(answer.rcode())}", []
    if not answer.flags & dns.flags.AA:
        return "it is not authoritative", []
    wanted = dns.name.from_text(name)
    return "", [
        (rrset.ttl, rdata.to_text().rstrip("."))
        for rrset in answer.answer
        if rrset.name == wanted and rrset.rdtype == dns.rdatatype.from_text(rtype)
        for rdata in rrset
    ]

"""
Addresses behind the hostnames that some clouds give load balancers, asked for anew when their TTL is over.

A name has one CNAME at most: where several clusters are answered, their hostnames have to become addresses. What was
found last stays while nobody answers.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import dns.asyncresolver
import dns.exception
import dns.resolver

log = logging.getLogger(__name__)

SHORTEST, LONGEST = 5.0, 300.0  # seconds between questions, whatever the TTL says
AGAIN = 10.0  # seconds after a question that nobody answered
FORGOTTEN = 900.0  # seconds after which a hostname that nobody wanted is asked for no longer
AT_ONCE = 8
TYPES = ("A", "AAAA")


@dataclass
class _Known:
    wanted: float
    due: float = 0.0
    addresses: tuple[str, ...] = ()


@dataclass
class Hostnames:
    """`run` in a task. `changed` is called when some hostname has other addresses now."""

    changed: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    resolver: dns.asyncresolver.Resolver | None = None
    """None: this host's."""
    _known: dict[str, _Known] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def addresses(self, hostname: str) -> tuple[str, ...]:
        """Those known; the first time none, and it is asked for."""
        known = self._known.get(hostname)
        if known is None:
            known = self._known[hostname] = _Known(self.clock())
            self._wake.set()
        known.wanted = self.clock()
        if known.due <= known.wanted:
            self._wake.set()
        return known.addresses

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            now = self.clock()
            for name in [name for name, known in self._known.items() if now - known.wanted > FORGOTTEN]:
                del self._known[name]
            due = [name for name, known in self._known.items() if known.due <= now]
            slots = asyncio.Semaphore(AT_ONCE)
            if any(await asyncio.gather(*(self._ask(name, slots) for name in due))):
                self.changed()
            waits = [known.due - self.clock() for known in self._known.values()]
            try:
                async with asyncio.timeout(max(0.1, min(waits, default=FORGOTTEN))):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _ask(self, name: str, slots: asyncio.Semaphore) -> bool:
        """Whether it has other addresses now."""
        found: list[str] = []
        ttl, failed = LONGEST, False
        resolver = self.resolver or dns.asyncresolver.get_default_resolver()
        async with slots:
            for rtype in TYPES:
                try:
                    answer = await resolver.resolve(name, rtype, lifetime=5.0)
                except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
                    continue
                except (OSError, dns.exception.DNSException) as error:
                    log.warning("load balancer %s cannot be looked up: %s", name, error)
                    failed = True
                else:
                    found += sorted(rdata.to_text() for rdata in answer)
                    ttl = min(ttl, answer.rrset.ttl if answer.rrset is not None else SHORTEST)
        known = self._known.get(name)
        if known is None:
            return False
        if failed and not found:
            known.due = self.clock() + AGAIN
            return False
        known.due = self.clock() + max(ttl, SHORTEST)
        changed, known.addresses = known.addresses != tuple(found), tuple(found)
        return changed

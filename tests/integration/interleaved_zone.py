"""Two federations and a person change one zone at once and crash meanwhile; no name is ever seen without records."""

import asyncio
import contextlib
import random
from dataclasses import dataclass, field

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from federation.dns.key_files import TsigSecret
from federation.dns.ownership import owner_name, read_owner
from federation.dns.plan import Desired, plan_changes
from federation.dns.providers.followers import Server
from federation.dns.providers.provider import ProviderError
from federation.dns.providers.rfc2136 import Rfc2136Provider, Rfc2136Settings
from federation.dns.recordsets import Group, RecordSet, Target
from tests.integration.name_servers import SECRET, ZONE

NETWORKS = {"a": "192.0.2", "b": "198.51.100", "person": "203.0.113"}
"""Whose an address is."""
CONTESTED = [f"n{at}.{ZONE}" for at in range(12)]
STEADY = {f"steady-{uid}.{ZONE}": uid for uid in ("a", "b")}
"""Names that change all the time and always exist."""
HAND = f"hand.{ZONE}"
CRASHES, BY_HAND = 0.04, 0.1
"""Share of turns in which a controller dies in the middle of a change; in which the person does something."""


@dataclass
class Counted:
    changes: int = 0
    refused: int = 0
    crashes: int = 0
    looks: int = 0
    """At steady names."""
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.changes} changes, {self.refused} refused, {self.crashes} crashes, {self.looks} looks at names that "
            f"always exist, {len(self.faults)} faults"
        )


async def interleaved(port: int, changes: int, seed: int) -> Counted:
    """`faults` tells what must not be: two owners, a foreign record touched, a moment without records."""
    rng, counted = random.Random(seed), Counted()
    federations = {uid: _Federation(port, uid) for uid in ("a", "b")}
    for name, uid in STEADY.items():
        await federations[uid].put(name, f"{NETWORKS[uid]}.1")
    by_hand = ""
    looking = asyncio.create_task(_look(port, counted))
    try:
        while counted.changes < changes:
            moves = [_move(rng, uid, counted.changes) for uid in federations]
            if rng.random() < 0.3:  # both want the same name
                moves[1] = (moves[0][0], moves[1][1])
            tasks = [
                asyncio.create_task(federation.put(name, value))
                for federation, (name, value) in zip(federations.values(), moves, strict=True)
            ]
            if rng.random() < CRASHES:
                await asyncio.sleep(rng.random() * 0.01)
                victim = rng.choice(sorted(federations))
                tasks[sorted(federations).index(victim)].cancel()
                federations[victim] = federations[victim].restarted()
                counted.crashes += 1
            if rng.random() < BY_HAND:
                by_hand = f"{NETWORKS['person']}.{1 + counted.changes % 250}"
                await _by_hand(port, by_hand)
            for refused in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(refused, BaseException) and not isinstance(refused, asyncio.CancelledError):
                    raise refused
                counted.refused += bool(refused)
            counted.changes += len(moves)
            for name in {name for name, _ in moves}:
                counted.faults += await _faults(port, name, STEADY.get(name, ""))
            if by_hand and await _values(port, HAND, "A") != [by_hand]:
                counted.faults.append(f"{HAND} is not {by_hand} any more")
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    if await _values(port, f"foreign.{ZONE}", "A") != ["192.0.2.99"]:
        counted.faults.append("the foreign record was touched")
    return counted


def _move(rng: random.Random, uid: str, turn: int) -> tuple[str, str]:
    """A name and its address from now on; empty: away."""
    value = f"{NETWORKS[uid]}.{1 + turn % 250}"
    if rng.random() < 0.4:
        return next(name for name, owner in STEADY.items() if owner == uid), value
    return rng.choice(CONTESTED), value if rng.random() < 0.7 else ""


class _Federation:
    def __init__(self, port: int, uid: str, epoch: int = 1) -> None:
        self._port, self._uid, self._epoch = port, uid, epoch
        key = TsigSecret(f"fed-{uid}", "hmac-sha256", SECRET)
        settings = Rfc2136Settings((Server("127.0.0.1", port),), ZONE, lambda: key, uid, epoch)
        self._provider = Rfc2136Provider(settings)

    def restarted(self) -> "_Federation":
        """The next leader."""
        return _Federation(self._port, self._uid, self._epoch + 1)

    async def put(self, name: str, value: str) -> dict[str, str]:
        """As the controller does: observe, plan, apply. Returns what was refused."""
        group: Group = {"A": RecordSet(name, "A", 5, (Target(value),))} if value else {}
        desired = {name: Desired(group, f"shop/{name.split('.')[0]}")}
        plan = plan_changes(desired, await self._provider.observe([name]), self._uid, synced=True)
        return {**plan.refused, **await self._provider.apply(plan.changes)}


async def _look(port: int, counted: Counted) -> None:
    while True:
        for name in STEADY:
            with contextlib.suppress(dns.exception.Timeout):
                answer = await dns.asyncquery.udp(dns.message.make_query(name, "A"), "127.0.0.1", 2, port)
                counted.looks += 1
                if answer.rcode() != dns.rcode.NOERROR or not answer.answer:
                    counted.faults.append(f"{name} was {dns.rcode.to_text(answer.rcode())} for a moment")
        await asyncio.sleep(0.002)


async def _values(port: int, name: str, rtype: str) -> list[str]:
    answer = await dns.asyncquery.tcp(dns.message.make_query(name, rtype), "127.0.0.1", 5, port)
    return sorted(rdata.to_text().strip('"') for rrset in answer.answer for rdata in rrset)


async def _faults(port: int, name: str, must_be: str) -> list[str]:
    """Of a name at rest: one owner, and values of that owner alone."""
    owners = [owner for text in await _values(port, owner_name(name), "TXT") if (owner := read_owner(text))]
    values = await _values(port, name, "A")
    if len(owners) > 1:
        return [f"{name} has {len(owners)} owners"]
    holder = owners[0].federation if owners else ""
    if must_be and holder != must_be:
        return [f"{name} belongs to {holder or 'nobody'}, not to {must_be}"]
    if bool(holder) != bool(values):
        return [f"{name} has values {values} and owner {holder or 'none'}"]
    return [f"{name} of {holder} has {value}" for value in values if not value.startswith(f"{NETWORKS[holder]}.")]


async def _by_hand(port: int, value: str) -> None:
    key = dns.tsig.Key(dns.name.from_text("fed-a"), SECRET, dns.tsig.HMAC_SHA256)
    message = dns.update.UpdateMessage(ZONE, keyring=key)
    message.replace(dns.name.from_text(HAND), 5, "A", value)
    answer = await dns.asyncquery.tcp(message, "127.0.0.1", 5, port)
    if answer.rcode() != dns.rcode.NOERROR:
        raise ProviderError(f"the person could not change {HAND}: {dns.rcode.to_text(answer.rcode())}")

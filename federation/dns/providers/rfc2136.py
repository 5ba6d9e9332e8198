"""
A zone on any server that takes signed dynamic updates (BIND, Knot, PowerDNS, Windows).

One message a name: prerequisites, the swap and the owner record are carried out as one unit or not at all, so that
nobody sees a name without records between two contents, and two writers cannot both win. Over TCP, TSIG signed.
Whoever was replaced as leader is fenced by the generation in the owner record, which also spoils replayed messages.
Source: RFC 2136 (§2.4 prerequisites), RFC 8945 (TSIG). A server ignores a CNAME that is added beside other data,
and data beside a CNAME, silently: hence deleting and adding in one message, and reading back.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from federation.dns.ownership import Owner, next_generation, owner_name, read_owner
from federation.dns.plan import Change, Observed, content
from federation.dns.providers.provider import ProviderError
from federation.dns.recordsets import Group, RecordSet, Target

log = logging.getLogger(__name__)

TIMEOUT = 5.0  # seconds an exchange
IN_FLIGHT = 4  # connections at a time
OWNER_TTL = 60  # seconds
MANAGED = ("A", "AAAA", "CNAME")
_LOST_RACE = (dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET, dns.rcode.NXDOMAIN)


@dataclass(frozen=True, slots=True)
class TsigKey:
    name: str
    secret: bytes
    """At least 16 bytes."""

    def __repr__(self) -> str:
        return f"TsigKey({self.name!r})"


@dataclass(frozen=True, slots=True)
class Rfc2136Settings:
    server: str
    """The primary's IP address."""
    port: int
    zone: str
    key: TsigKey
    federation: str
    """Our UID: whose the owner records say names are."""
    epoch: int
    """Of our leadership; grows with every new leader."""


class Rfc2136Provider:
    def __init__(self, settings: Rfc2136Settings) -> None:
        self._settings = settings
        self._zone = dns.name.from_text(settings.zone)
        key_name = dns.name.from_text(settings.key.name)
        self._key = dns.tsig.Key(key_name, settings.key.secret, dns.tsig.HMAC_SHA256)
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    async def observe(self, names: Iterable[str]) -> Mapping[str, Observed]:
        """See Provider. Asks the primary, signed, one name after the other over a few connections."""
        wanted = list(dict.fromkeys(names))
        found = await asyncio.gather(*(self._observe(name) for name in wanted))
        return {name: one for name, one in zip(wanted, found, strict=True) if one.group or one.owner}

    async def apply(self, changes: Iterable[Change]) -> Mapping[str, str]:
        """See Provider. One name that is refused does not keep the others."""
        ordered = list(changes)
        results = await asyncio.gather(*(self._apply(change) for change in ordered))
        return {change.name: why for change, why in zip(ordered, results, strict=True) if why}

    async def _apply(self, change: Change) -> str:
        name = dns.name.from_text(change.name)
        if not name.is_subdomain(self._zone) or name == self._zone:
            return f"{change.name} is not a name inside the zone {self._settings.zone}"
        before = change.before.owner if change.before else None
        generation = next_generation(self._settings.epoch, before.generation if before else None)
        if generation is None:
            return f"{change.name} was changed by a later leader; this one must not write any more"
        if before is not None and before.federation != self._settings.federation:
            return f"{change.name} belongs to federation {before.federation}"
        owner = Owner(self._settings.federation, generation, change.obj)
        answer = await self._exchange(update_message(self._zone, change, before, owner, self._key))
        if answer.rcode() in _LOST_RACE:
            return f"{change.name} is not ours, or was changed meanwhile ({dns.rcode.to_text(answer.rcode())})"
        if answer.rcode() != dns.rcode.NOERROR:
            return f"the server refused to change {change.name}: {dns.rcode.to_text(answer.rcode())}"
        return await self._verify(change, owner)

    async def _verify(self, change: Change, owner: Owner) -> str:
        """What is there now has to be what was sent: servers skip impossible updates without an error."""
        now = await self._observe(change.name)
        if content(now.group) == content(change.after) and now.owner == (owner if change.after else None):
            return ""
        if now.owner is not None and now.owner.generation > owner.generation:
            return ""  # somebody went on from ours
        return f"the server took the change of {change.name} but answers something else; it has to be looked at there"

    async def _observe(self, name: str) -> Observed:
        group: Group = {}
        for rtype in MANAGED:
            ttl, values = await self._ask(name, rtype)
            if values:
                group[rtype] = RecordSet(name, rtype, ttl, tuple(map(Target, values)))
                if rtype == "CNAME":
                    break
        _, texts = await self._ask(owner_name(name), "TXT")
        return Observed(group, next((owner for text in texts if (owner := read_owner(text))), None))

    async def _ask(self, name: str, rtype: str) -> tuple[int, list[str]]:
        """(TTL, values) at exactly this name."""
        query = dns.message.make_query(name, rtype, flags=0)
        query.use_tsig(self._key)
        answer = await self._exchange(query)
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            what = dns.rcode.to_text(answer.rcode())
            raise ProviderError(f"{self._where} answers {what} for {name} {rtype}; is it the primary of this zone?")
        if not answer.flags & dns.flags.AA:
            raise ProviderError(f"{self._where} is not authoritative for {name}")
        rrset = answer.get_rrset(
            answer.answer, dns.name.from_text(name), dns.rdataclass.IN, dns.rdatatype.from_text(rtype)
        )  # fmt: skip
        if rrset is None:
            return 0, []
        if rtype == "TXT":
            return rrset.ttl, [b"".join(rdata.strings).decode("ascii", "replace") for rdata in rrset]
        return rrset.ttl, [rdata.to_text().rstrip(".") for rdata in rrset]

    async def _exchange(self, message: dns.message.Message) -> dns.message.Message:
        """Raises ProviderError when there is no signed answer."""
        try:
            async with self._slots:
                answer = await dns.asyncquery.tcp(
                    message, self._settings.server, timeout=TIMEOUT, port=self._settings.port
                )  # fmt: skip
        except (OSError, EOFError, dns.exception.DNSException) as error:
            raise ProviderError(f"{self._where}: {type(error).__name__}: {error}".rstrip(": ")) from error
        if not answer.had_tsig:
            raise ProviderError(f"{self._where} does not sign its answers: does it know key {self._settings.key.name}?")
        return answer

    @property
    def _where(self) -> str:
        return f"DNS server {self._settings.server} port {self._settings.port}"


def update_message(
    zone: dns.name.Name, change: Change, before: Owner | None, owner: Owner, key: dns.tsig.Key | None = None
) -> dns.update.UpdateMessage:
    """
    One name's change, with what has to be true for it.

    A new name has to be free, its owner record too; else the owner record has to be the very one that was observed.
    """
    name, owned_by = dns.name.from_text(change.name), dns.name.from_text(owner_name(change.name))
    message = dns.update.UpdateMessage(zone, keyring=key)
    if before is None:
        message.absent(name)
        message.absent(owned_by)
    else:
        message.present(owned_by, "TXT", f'"{before.text()}"')
    for rtype in MANAGED:
        message.delete(name, rtype)
    for record in change.after.values():
        for target in record.targets:
            dotted = f"{target.value}." if record.type == "CNAME" else target.value
            message.add(name, record.ttl, record.type, dotted)
    message.delete(owned_by, "TXT")
    if change.after:
        message.add(owned_by, OWNER_TTL, "TXT", f'"{owner.text()}"')
    return message

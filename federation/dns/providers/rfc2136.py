"""
A zone on any server that takes signed dynamic updates (BIND, Knot, PowerDNS, Windows).

One message a name: prerequisites, the swap and the owner record are carried out as one unit or not at all, so that
nobody sees a name without records between two contents, and two writers cannot both win. Over TCP, TSIG signed.
Whoever was replaced as leader is fenced by the generation in the owner record, which also spoils replayed messages.
Source: RFC 2136 (§2.4 prerequisites), RFC 8945 (TSIG). A server ignores a CNAME that is added beside other data,
and data beside a CNAME, silently: hence deleting and adding in one message, and reading back.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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

from federation.dns.key_files import KeyFileError, TsigSecret
from federation.dns.ownership import Owner, next_generation, owner_name, read_owner
from federation.dns.plan import Change, Observed, content
from federation.dns.providers.followers import Followers, Server
from federation.dns.providers.provider import ProviderError
from federation.dns.recordsets import Group, RecordSet, Target

TIMEOUT = 5.0  # seconds an exchange
MAX_SKEW = 60.0  # seconds between clocks from which on an operator is told
IN_FLIGHT = 4  # connections at a time
OWNER_TTL = 60  # seconds
MANAGED = ("A", "AAAA", "CNAME")
_LOST_RACE = (dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET, dns.rcode.NXDOMAIN)


ALGORITHMS = {"hmac-sha256": dns.tsig.HMAC_SHA256, "hmac-sha384": dns.tsig.HMAC_SHA384,
              "hmac-sha512": dns.tsig.HMAC_SHA512}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rfc2136Settings:
    servers: tuple[Server, ...]
    """By IP address. The first is the primary, which is changed; the others follow it, and are looked at."""
    zone: str
    key: Callable[[], TsigSecret]
    """Asked each time, so that a key can be replaced while we run. Raises KeyFileError."""
    federation: str
    """Our UID: whose the owner records say names are."""
    epoch: int | None
    """Of our leadership; grows with every new leader. None: nobody else ever leads."""


class Rfc2136Provider:
    def __init__(self, settings: Rfc2136Settings) -> None:
        self._settings = settings
        self._zone = dns.name.from_text(settings.zone)
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._followers = Followers(settings.servers[1:])

    def express(self, group: Group) -> Group:
        """See Provider. Values alone: a server that copies zones knows neither weights nor where clients are."""
        return {rtype: RecordSet(record.name, rtype, record.ttl, _values(record)) for rtype, record in group.items()}

    async def check(self) -> Sequence[str]:
        """See Provider. Whether the key is known, the zone is there, clocks agree, and the others have the zone."""
        query = dns.message.make_query(self._zone, "SOA", flags=0)
        query.use_tsig(self._key())
        answer = await self._exchange(query)
        if answer.rcode() != dns.rcode.NOERROR or not answer.flags & dns.flags.AA or not answer.answer:
            what = dns.rcode.to_text(answer.rcode())
            raise ProviderError(
                f"{self._primary} answers {what} for the SOA of {self._zone}: is it the zone's primary?"
            )
        doubts = list(await self._followers.check(self._zone))
        signed = answer.tsig[0].time_signed if answer.tsig else time.time()
        if abs(skew := signed - time.time()) >= MAX_SKEW:
            doubts.append(
                f"the clock of {self._primary} is {skew:+.0f} s off ours; from 300 s on it refuses every change: "
                "set the clocks by NTP"
            )
        return doubts

    async def run(self) -> None:
        """See Provider. Watches the servers that follow the primary."""
        await self._followers.run()

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
        answer = await self._exchange(update_message(self._zone, change, before, owner, self._key()))
        if answer.rcode() in _LOST_RACE:
            return f"{change.name} is not ours, or was changed meanwhile ({dns.rcode.to_text(answer.rcode())})"
        if answer.rcode() != dns.rcode.NOERROR:
            return f"the server refused to change {change.name}: {dns.rcode.to_text(answer.rcode())}"
        return await self._verify(change, owner)

    async def _verify(self, change: Change, owner: Owner) -> str:
        """What is there now has to be what was sent: servers skip impossible updates without an error."""
        now = await self._observe(change.name)
        if content(now.group) == content(change.after) and now.owner == (owner if change.after else None):
            self._followers.expect(change.name, change.after)
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
        query.use_tsig(self._key())
        answer = await self._exchange(query)
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            what = dns.rcode.to_text(answer.rcode())
            raise ProviderError(f"{self._primary} answers {what} for {name} {rtype}; is it the primary of this zone?")
        if not answer.flags & dns.flags.AA:
            raise ProviderError(f"{self._primary} is not authoritative for {name}")
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
                    message, self._primary.address, timeout=TIMEOUT, port=self._primary.port
                )  # fmt: skip
        except dns.tsig.PeerBadTime as error:
            raise ProviderError(f"{self._primary} refuses our clock: it is over 300 s off; set it by NTP") from error
        except (dns.tsig.PeerBadKey, dns.tsig.PeerBadSignature) as error:
            raise ProviderError(
                f"{self._primary} does not accept key {message.keyname}: give the name, algorithm and secret it knows"
            ) from error
        except (OSError, EOFError, dns.exception.DNSException) as error:
            raise ProviderError(f"{self._primary}: {type(error).__name__}: {error}".rstrip(": ")) from error
        if not answer.had_tsig:
            raise ProviderError(f"{self._primary} does not sign its answers: does it know key {message.keyname}?")
        return answer

    @property
    def _primary(self) -> Server:
        return self._settings.servers[0]

    def _key(self) -> dns.tsig.Key:
        """Raises ProviderError."""
        try:
            key = self._settings.key()
        except KeyFileError as error:
            raise ProviderError(str(error)) from error
        return dns.tsig.Key(dns.name.from_text(key.name), key.secret, ALGORITHMS[key.algorithm])


def _values(record: RecordSet) -> tuple[Target, ...]:
    return tuple(map(Target, dict.fromkeys(target.value for target in record.targets)))


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

"""
The federation's zone in memory: DNSRecordSets in, compiled answers out. No I/O.

A name is held by one DNSRecordSet; when two claim it, the first by namespace and name answers.
Called by   federation.dns_server.service (changes) and federation.dns_server.responder (questions).
"""

import random
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from cluster.dns.names import encode_name, is_below
from cluster.dns.owned_names import OwnedNames
from cluster.dns.wire import ANY_HINFO, Answer, Rcode, Record, Type, soa_rdata
from cluster.machinery.objects import Key
from federation.dns.recordsets import RecordSet, Target
from federation.dns_server.history import MASK, Change, History

MAX_COMPILED = 50_000
MAX_CHAIN = 8
NEGATIVE_TTL = 5  # seconds
APEX_TTL = 60  # seconds
SECONDARY_TIMES = (60, 15, 604_800)
"""Seconds: secondaries look again, try again, and answer without us. NOTIFY makes the first two rarely matter."""

Address = IPv4Address | IPv6Address


class Value(NamedTuple):
    rdata: bytes
    ttl: int
    weight: int | None
    networks: tuple[IPv4Network | IPv6Network, ...]


Values = dict[int, list[Value]]
"""Type -> values at one name."""


class Tailored:
    """An answer that depends on who asks, or on chance: one compiled answer a choice."""

    def __init__(
        self, name: bytes, prefix: Sequence[Record], owner: bytes, rtype: int, values: Sequence[Value]
    ) -> None:
        self._name, self._prefix, self._owner, self._type = name, list(prefix), owner, rtype
        self._values = values
        self.by_place = any(value.networks for value in values)
        self._weighted = any(value.weight is not None for value in values)
        self._compiled: dict[tuple[int, ...], Answer] = {}
        self._groups: dict[tuple[int, ...], list[int]] = {}

    def choose(self, client: Address | None) -> Answer:
        """The answer for this client; None: its address is not known."""
        near = self._near(client)
        if self._weighted:
            group = tuple(near)
            weights = self._groups.get(group)
            if weights is None:
                weights = self._groups[group] = [self._values[index].weight or 0 for index in group]
            if any(weights):
                near = random.choices(near, weights)  # noqa: S311  (spreads load, guards nothing)
        key = tuple(near)
        answer = self._compiled.get(key)
        if answer is None:
            found = [Record(self._owner, self._type, self._values[i].ttl, self._values[i].rdata) for i in key]
            answer = self._compiled[key] = Answer(
                self._name, Rcode.NOERROR, [*self._prefix, *found], recursive=False
            )  # fmt: skip
        return answer

    def _near(self, client: Address | None) -> list[int]:
        """Values of the narrowest network that the client is in, else those for everywhere, else all."""
        everyone = list(range(len(self._values)))
        if not self.by_place:
            return everyone
        best, found = -1, list[int]()
        for index, value in enumerate(self._values):
            for network in value.networks if client is not None else ():
                if client in network and network.prefixlen >= best:
                    found = [*found, index] if network.prefixlen == best else [index]
                    best = network.prefixlen
        return found or [index for index in everyone if not self._values[index].networks] or everyone


class FederationZone:
    """
    Args:
        domain: `example.com`.
        servers: name -> addresses of the zone's name servers; the first is the primary.
        epoch: added to versions to make serial numbers, so that a federation that is made anew goes on from the old.
    """

    def __init__(self, domain: str, servers: dict[str, list[str]], epoch: int = 0) -> None:
        self.domain = domain.rstrip(".").lower()
        self.apex = encode_name(domain)
        self.synced = False
        """Until every record is known once, a missing name proves nothing: SERVFAIL."""
        self.epoch = epoch
        self.history = History()
        self._counted = epoch
        """The serial before it is cut to 32 bits."""
        self._transfer: list[Record] | None = None
        self._tell: list[Callable[[], None]] = []
        self._names: OwnedNames[Values] = OwnedNames()
        self._compiled: dict[bytes, Answer | Tailored] = {}
        own: dict[bytes, Values] = {self.apex: {Type.NS: []}}
        for server, addresses in servers.items():
            name = encode_name(server)
            own[self.apex][Type.NS].append(Value(name, APEX_TTL, None, ()))
            for address in addresses if is_below(name, self.apex) else ():
                parsed = ip_address(address)
                rtype = Type.A if parsed.version == 4 else Type.AAAA
                own.setdefault(name, {}).setdefault(rtype, []).append(Value(parsed.packed, APEX_TTL, None, ()))
        self._primary = encode_name(next(iter(servers)))
        self._contact = encode_name(f"hostmaster.{self.domain}")
        self._names.put(Key("", ""), own)

    @property
    def serial(self) -> int:
        return self._counted & MASK

    def on_serial(self, call: Callable[[], None]) -> None:
        """`call` hears of every new serial of a complete zone."""
        self._tell.append(call)

    def put(self, owner: Key, records: Iterable[RecordSet] | None, version: int = 0) -> bool:
        """
        Replace what one DNSRecordSet says; None removes it. Records outside the zone are left away. Changed?

        Args:
            version: the store's, of the change. Serials follow it: all servers of a zone agree, over restarts too.
        """
        values = None if records is None else self._values(records)
        old = self._names.of(owner)
        if old == values:
            return False
        names = {*(old or ()), *(values or ())}
        before = self._plain(names) if self.synced else []
        self._names.put(owner, values)
        self._compiled.clear()
        if self.synced:
            self._note(before, self._plain(names), version)
        return True

    def complete(self, version: int) -> None:
        """Everything is known as of this version; from here on, changes are kept for those who follow the zone."""
        self.synced = True
        self._advance(version, at_least=0)
        self._compiled.clear()
        for call in self._tell:
            call()

    def _note(self, before: Sequence[Record], after: Sequence[Record], version: int) -> None:
        """Put down a change of what is transferred; another choice between the same addresses is none."""
        was, is_now = set(before), set(after)
        if was == is_now:
            return
        old = self.soa(APEX_TTL)
        serial = self.serial
        self._advance(version, at_least=1)
        deleted = tuple(record for record in before if record not in is_now)
        added = tuple(record for record in after if record not in was)
        self.history.add(Change(serial, self.serial, (old, *deleted), (self.soa(APEX_TTL), *added)))
        for call in self._tell:
            call()

    def _advance(self, version: int, *, at_least: int) -> None:
        self._counted = max(self._counted + at_least, self.epoch + version)
        self._transfer = None

    def _values(self, records: Iterable[RecordSet]) -> dict[bytes, Values]:
        found: dict[bytes, Values] = {}
        for record in records:
            rtype = Type.__members__.get(record.type)
            if rtype not in (Type.A, Type.AAAA, Type.CNAME):
                continue
            try:
                name = encode_name(record.name)
                values = [value for target in record.targets if (value := _value(rtype, record.ttl, target))]
            except ValueError:
                continue  # an object that somebody wrote by hand; its other records are served
            if values and is_below(name, self.apex) and name != self.apex:
                found.setdefault(name, {})[rtype] = values
        return found

    @property
    def names(self) -> int:
        return len(self._names)

    def forget_compiled(self) -> None:
        self._compiled.clear()

    def compiled(self, key: bytes) -> Answer | Tailored | None:
        """The answer to a question (lower-cased section) that was asked before."""
        return self._compiled.get(key)

    def answer(self, name: bytes, qtype: int, key: bytes) -> Answer | Tailored:
        if not is_below(name, self.apex):
            return Answer(name, Rcode.REFUSED, authoritative=False, recursive=False)
        if not self.synced:
            return Answer(name, Rcode.SERVFAIL, recursive=False)
        if len(self._compiled) >= MAX_COMPILED:
            self._compiled.clear()
        answer = self._compiled[key] = self._compile(name, qtype)
        return answer

    def _compile(self, name: bytes, qtype: int) -> Answer | Tailored:
        answers: list[Record] = []
        current, values = name, self._at(name)
        while values and qtype not in (Type.CNAME, Type.ANY) and Type.CNAME in values and len(answers) < MAX_CHAIN:
            target = values[Type.CNAME][0]
            answers.append(Record(current, Type.CNAME, target.ttl, target.rdata))
            current = target.rdata
            if not is_below(current, self.apex):
                return Answer(name, Rcode.NOERROR, answers, recursive=False)
            values = self._at(current)
        if values is None:
            known = self._names.has_below(current)
            rcode = Rcode.NOERROR if known else Rcode.NXDOMAIN
            return Answer(name, rcode, answers, [self.soa(NEGATIVE_TTL)], recursive=False)
        if qtype == Type.ANY:
            return Answer(name, Rcode.NOERROR, [Record(current, Type.HINFO, APEX_TTL, ANY_HINFO)], recursive=False)
        if qtype == Type.SOA and current == self.apex:
            return Answer(name, Rcode.NOERROR, [*answers, self.soa(APEX_TTL)], recursive=False)
        found = values.get(qtype)
        if not found:
            return Answer(name, Rcode.NOERROR, answers, [self.soa(NEGATIVE_TTL)], recursive=False)
        if any(value.networks or value.weight is not None for value in found):
            return Tailored(name, answers, current, qtype, found)
        records = [Record(current, qtype, value.ttl, value.rdata) for value in found]
        glue = self._glue(found) if qtype == Type.NS else []
        return Answer(name, Rcode.NOERROR, [*answers, *records], (), glue, recursive=False)

    def _glue(self, found: Iterable[Value]) -> list[Record]:
        return [
            Record(server.rdata, rtype, value.ttl, value.rdata)
            for server in found
            for rtype, values in (self._at(server.rdata) or {}).items()
            for value in values
        ]

    def _at(self, name: bytes) -> Values | None:
        held = self._names.at(name)
        return None if held is None else held[min(held)]

    def soa(self, ttl: int) -> Record:
        rdata = soa_rdata(self._primary, self._contact, serial=self.serial, minimum=NEGATIVE_TTL, times=SECONDARY_TIMES)
        return Record(self.apex, Type.SOA, ttl, rdata)

    def records(self) -> list[Record]:
        """Everything, for a transfer: SOA first; chance and place left away. The list is shared: leave it as it is."""
        if self._transfer is None:
            self._transfer = [self.soa(APEX_TTL), *self._plain(sorted(self._names))]
        return self._transfer

    def _plain(self, names: Iterable[bytes]) -> list[Record]:
        """What a server without our choices answers: of each type all values that could be chosen."""
        return [
            Record(name, rtype, value.ttl, value.rdata)
            for name in names
            for rtype, values in _one_kind(self._at(name) or {})
            for value in _choosable(values)
        ]


def _one_kind(values: Values) -> Iterable[tuple[int, Sequence[Value]]]:
    """Beside a CNAME nothing else may stand, nor a second one: a secondary would refuse the zone."""
    return [(Type.CNAME, values[Type.CNAME][:1])] if Type.CNAME in values else sorted(values.items())


def _choosable(values: Sequence[Value]) -> Iterable[Value]:
    """Without those that have weight 0, unless all have; each address once."""
    some = [value for value in values if value.weight != 0] or values
    return {value.rdata: value for value in some}.values()


def _value(rtype: int, ttl: int, target: Target) -> Value | None:
    """Raises ValueError for what is no address, name or network."""
    networks = tuple(ip_network(network, strict=False) for network in target.networks)
    if rtype == Type.CNAME:
        return Value(encode_name(target.value), ttl, None, ())
    address = ip_address(target.value)
    fits = address.version == (4 if rtype == Type.A else 6)
    return Value(address.packed, ttl, target.weight, networks) if fits else None

"""
The cluster's zone: all records of all Services, and what to answer to a question about them.

Holds state, does no I/O. `answer()` is a dictionary lookup for every question that was asked before.
Called by   cluster.dns.service (changes) and cluster.dns.server (questions).
Not here    names outside the cluster (routes.py, forwarding.py).
"""

from collections.abc import Iterable, Mapping

from cluster.dns.clusterset import CLUSTERSET_DOMAIN, CLUSTERSET_VERSION
from cluster.dns.names import ROOT, encode_labels, encode_name, is_below, reverse_zone, split_name
from cluster.dns.owned_names import OwnedNames
from cluster.dns.records import SCHEMA_VERSION, Records, pod_address
from cluster.dns.wire import ANY_HINFO, Answer, Rcode, Record, Type, soa_rdata, txt_rdata
from cluster.machinery.objects import Key

# Random names below the zone must not fill the memory: about 300 bytes each.
MAX_COMPILED = 20_000
# A CNAME inside the cluster may lead to another; more is a loop.
MAX_CHAIN = 8
_OWN = Key("", "")
_OWN_CLUSTERSET = Key("", "clusterset")
_CLUSTERSET = encode_name(CLUSTERSET_DOMAIN)


class Zone:
    """
    Args:
        domain: `cluster.local`.
        address: where this server answers, given out as the zone's name server.
        networks: service and pod networks: their reverse names are answered here and never forwarded.
        ttl: seconds that answers, negative ones too, may be kept.
    """

    def __init__(self, domain: str, address: bytes, networks: Iterable[str], ttl: int = 5) -> None:
        self.domain = domain
        self.apex = encode_name(domain)
        self.ttl = ttl
        self.serial = 1
        self.synced = False
        """Until every Service is known, a missing name proves nothing: SERVFAIL."""
        self.zones = (self.apex, *dict.fromkeys(reverse_zone(network) for network in networks))
        self._pods = encode_name(f"pod.{domain}")
        self._names: OwnedNames[dict[int, list[bytes]]] = OwnedNames()
        self._compiled: dict[bytes, Answer] = {}
        self._ready: set[bytes] = set()
        self._federations: dict[bytes, str] = {}
        self._location = ""
        self._nameserver = encode_name(f"ns.dns.{domain}")
        self._contact = encode_name(f"hostmaster.{domain}")
        own: Records = {
            self.apex: {Type.NS: [self._nameserver]},
            self._nameserver: {Type.A: [address]},
            encode_name(f"dns-version.{domain}"): {Type.TXT: [txt_rdata(SCHEMA_VERSION)]},
            # They exist in an empty cluster too.
            encode_name(f"svc.{domain}"): {},
            self._pods: {},
        }
        self.put(_OWN, own)

    def put(self, owner: Key, records: Records | None) -> bool:
        """Replace everything that one Service contributes; None removes it. Tells whether anything changed."""
        if self._names.of(owner) == records:
            return False
        self._names.put(owner, records)
        self.serial += 1
        self._compiled.clear()
        return True

    def forget_compiled(self) -> None:
        self._compiled.clear()

    def serve_clusterset(self, ours: bool) -> None:
        """Whether names below clusterset.local are answered here, or are nothing special."""
        self.zones = tuple(zone for zone in self.zones if zone != _CLUSTERSET) + ((_CLUSTERSET,) if ours else ())
        own: Records = {
            _CLUSTERSET: {Type.NS: [self._nameserver]},
            encode_name(f"svc.{CLUSTERSET_DOMAIN}"): {},
            encode_name(f"dns-version.{CLUSTERSET_DOMAIN}"): {Type.TXT: [txt_rdata(CLUSTERSET_VERSION)]},
        }
        self.put(_OWN_CLUSTERSET, own if ours else None)
        self._compiled.clear()

    def set_federations(self, domains: Mapping[str, str]) -> None:
        """By the name of a federation its domain: names `service.namespace.NAME.svc` are answered from now on."""
        self._federations = {name.encode(): domain for name, domain in domains.items()}
        self._compiled.clear()

    def set_location(self, zone: str, region: str) -> None:
        """Where this cluster is: federations are asked for their nearest answer."""
        location = "".join(f".{part.lower()}" for part in (zone, region) if part)
        if location != self._location:
            self._location = location
            self._compiled.clear()

    def set_ready(self, service: Key, ready: bool) -> None:
        """Whether a Service has endpoints here; without any, a federation's other clusters answer for it."""
        name = encode_name(f"{service.name}.{service.namespace}.svc.{self.domain}")
        if ready == (name in self._ready):
            return
        if ready:
            self._ready.add(name)
        else:
            self._ready.discard(name)
        if self._federations:
            self._compiled.clear()

    @property
    def owners(self) -> int:
        return sum(bool(owner.namespace) for owner in self._names.owners)

    def authority_for(self, name: bytes) -> bytes | None:
        """The zone of ours that holds the name; None: it is the world's."""
        return next((zone for zone in self.zones if is_below(name, zone)), None)

    def compiled(self, key: bytes) -> Answer | None:
        """The answer to a question (lower-cased question section) that was asked before."""
        return self._compiled.get(key)

    def answer(self, name: bytes, qtype: int, key: bytes) -> Answer | None:
        """
        What to say about a name; None when it is not in a zone of ours.

        An answer ending in a CNAME out of the cluster is left as it is: the server resolves the rest.
        """
        known = self._compiled.get(key)
        if known is not None:
            return known  # one that the server could not splice: a long one, or one that leads outside
        zone = self.authority_for(name)
        if zone is None:
            # An endpoint outside the pod network: its reverse name is known here though the network is not ours.
            if name not in self._names:
                return None
            zone = self.apex
        if not self.synced:
            return Answer(name, Rcode.SERVFAIL)
        if len(self._compiled) >= MAX_COMPILED:
            self._compiled.clear()
        answer = self._compiled[key] = self._compile(name, qtype, zone)
        return answer

    def _compile(self, name: bytes, qtype: int, zone: bytes) -> Answer:
        answers: list[Record] = []
        current = name
        rrsets = self._rrsets(current)
        while rrsets is not None and qtype != Type.CNAME and Type.CNAME in rrsets and len(answers) < MAX_CHAIN:
            target = rrsets[Type.CNAME][0]
            answers.append(Record(current, Type.CNAME, self.ttl, target))
            current = target
            if self.authority_for(current) is None:
                return Answer(name, Rcode.NOERROR, answers, leads_outside=True)
            rrsets = self._rrsets(current)
        if rrsets is None:
            if not self._names.has_below(current) and current != zone:
                return Answer(name, Rcode.NXDOMAIN, answers, [self._soa(zone)])
            rrsets = {}
        if current in self.zones:
            rrsets = {**rrsets, Type.SOA: [self._soa(current).rdata]}
        if qtype == Type.ANY and rrsets:
            return Answer(name, Rcode.NOERROR, [Record(current, Type.HINFO, self.ttl, ANY_HINFO)])
        found = [Record(current, qtype, self.ttl, rdata) for rdata in rrsets.get(qtype, ())]
        if not found:
            return Answer(name, Rcode.NOERROR, answers, [self._soa(zone)])
        return Answer(name, Rcode.NOERROR, answers + found, (), self._glue(found, qtype))

    def _rrsets(self, name: bytes) -> dict[int, list[bytes]] | None:
        """Types and data at a name, of all its owners; None: no such name, though there may be names below it."""
        held = self._names.at(name)
        if held is None:
            return self._pod(name) or self._federated(name)
        if len(held) == 1:
            return next(iter(held.values()))
        merged: dict[int, list[bytes]] = {}
        for owner in sorted(held):
            for rtype, rdatas in held[owner].items():
                into = merged.setdefault(rtype, [])
                into.extend(rdata for rdata in rdatas if rdata not in into)
        return merged

    def _pod(self, name: bytes) -> dict[int, list[bytes]] | None:
        if not is_below(name, self._pods):
            return None
        labels = split_name(name[: -len(self._pods)] + ROOT)
        if len(labels) == 1:
            return {}  # a namespace; whether it exists is not this server's business
        address = pod_address(labels[0]) if len(labels) == 2 else None
        return None if address is None else {Type.A: [address]}

    def _federated(self, name: bytes) -> dict[int, list[bytes]] | None:
        """`service.namespace.federation.svc`: here, when it has endpoints here, else where the federation says."""
        if not self._federations or not is_below(name, self.apex):
            return None
        labels = split_name(name[: -len(self.apex)] + ROOT)
        if len(labels) != 4 or labels[3] != b"svc" or labels[2] not in self._federations:
            return None
        service, namespace, federation = (label.decode("latin-1") for label in labels[:3])
        local = encode_labels(labels[0], labels[1], b"svc") + self.apex
        if local in self._ready and local in self._names:
            return {Type.CNAME: [local]}
        domain = self._federations[labels[2]]
        try:
            return {Type.CNAME: [encode_name(f"{service}.{namespace}.{federation}.svc{self._location}.{domain}")]}
        except ValueError:
            return None  # too long, or no name: nobody has it

    def _glue(self, found: Iterable[Record], qtype: int) -> list[Record]:
        """Addresses of the targets of SRV and NS records: saves the client a question each."""
        skip = {Type.SRV: 6, Type.NS: 0}.get(Type(qtype)) if qtype in (Type.SRV, Type.NS) else None
        if skip is None:
            return []
        targets = dict.fromkeys(record.rdata[skip:] for record in found)
        return [
            Record(target, rtype, self.ttl, address)
            for target in targets
            for rtype in (Type.A, Type.AAAA)
            for address in (self._rrsets(target) or {}).get(rtype, ())
        ]

    def _soa(self, zone: bytes) -> Record:
        rdata = soa_rdata(self._nameserver, self._contact, serial=self.serial & 0xFFFFFFFF, minimum=self.ttl)
        return Record(zone, Type.SOA, self.ttl, rdata)

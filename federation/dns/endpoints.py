"""
What the names of a federated Service answer, from what its members have. Pure.

    <service>.<namespace>.<federation>.svc.<zone>.<region>.<domain>   members in that zone, else the region's name
    <service>.<namespace>.<federation>.svc.<region>.<domain>          members in that region, else the whole's name
    <service>.<namespace>.<federation>.svc.<domain>                   every member that serves

Zone and region names answer from near by only under the strategy Locality; other strategies decide at the last name,
and the nearer ones lead there. A policy's hosts are more names for the last one.
Called by   federation.controllers.publish_dns, once a Service, when anything of it changed.
Source: names and fallback of Kubernetes' first federation (federation/pkg/federation-controller/service/dns).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from federation.dns.policies import DEFAULT, FAILOVER, GEO, LOCALITY, WEIGHTED, DnsPolicy
from federation.dns.recordsets import RecordSet, Target

READY, SUSPECT, LEAVING = "Ready", "Suspect", "Leaving"
FIRST_RETURN = 15.0
"""Seconds that a cluster has to be well after its first loss; each further one doubles it, up to the policy's."""
LOSSES_COUNT, MOST_LOSSES = 600.0, 8
"""Seconds for which a loss counts, and how many are remembered."""


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What one cluster that a Service is placed in says of it."""

    cluster: str
    region: str = ""
    zones: tuple[str, ...] = ()
    phase: str = READY
    addresses: tuple[str, ...] = ()
    """IPv4 and IPv6 of its ingress, or of nodes (NodePort)."""
    hostnames: tuple[str, ...] = ()
    """Of its ingress."""
    ready: int | None = None
    """Ready endpoints; None: not known (yet)."""
    resolved: tuple[str, ...] = ()
    """What the hostnames lead to at the moment."""

    @property
    def serves(self) -> bool:
        # What a Suspect member said last still holds; an Unreachable or leaving one serves nobody.
        return self.phase in (READY, SUSPECT) and bool(self.ready) and bool(self.addresses or self.hostnames)

    @property
    def surely_empty(self) -> bool:
        return self.phase == READY and self.ready == 0


@dataclass(frozen=True, slots=True)
class FederatedService:
    namespace: str
    name: str
    federation: str
    domain: str
    """The zone, e.g. `example.com`."""

    @property
    def global_name(self) -> str:
        return f"{self._start}.{self.domain}"

    def region_name(self, region: str) -> str:
        return f"{self._start}.{region}.{self.domain}".lower()

    def zone_name(self, zone: str, region: str) -> str:
        return f"{self._start}.{zone}.{region}.{self.domain}".lower()

    @property
    def _start(self) -> str:
        return f"{self.name}.{self.namespace}.{self.federation}.svc"


@dataclass(frozen=True, slots=True)
class Memory:
    """What the next decision needs to know of the last. Times are seconds on one clock."""

    records: tuple[RecordSet, ...] = ()
    well_since: Mapping[str, float] = field(default_factory=dict)
    losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """When a cluster stopped to serve while others went on, within the last ten minutes."""
    unwell_since: float | None = None
    """Since when no member serves though some might."""
    chosen: str = ""
    """Of failover: whom the name points at."""
    again: float | None = None
    """When time alone may change the decision."""

    @property
    def clusters(self) -> frozenset[str]:
        """Those that are answered."""
        return frozenset(target.cluster for record in self.records for target in record.targets if target.cluster)

    def said_of(self, cluster: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(addresses, hostnames) that are answered for it."""
        found = [(record.type, target.value) for record in self.records for target in record.targets
                 if target.cluster == cluster]  # fmt: skip
        hostnames = dict.fromkeys(value for rtype, value in found if rtype == "CNAME")
        return tuple(dict.fromkeys(value for rtype, value in found if rtype != "CNAME")), tuple(hostnames)


def remembered(records: Sequence[RecordSet]) -> Memory:
    """After a restart: what the stored records tell. Failback starts to count anew."""
    memory = Memory(records=tuple(records))
    return replace(memory, chosen=min(memory.clusters)) if len(memory.clusters) == 1 else memory


def decide(
    service: FederatedService,
    members: Iterable[MemberFacts],
    policy: DnsPolicy = DEFAULT,
    memory: Memory | None = None,
    *,
    now: float,
    isolated: bool = False,
    default_ttl: int = 5,
) -> Memory:
    """
    The records from now on, in the memory for the next time.

    Args:
        members: those the Service is placed in, whatever their health; none: nothing is left.
        isolated: the federation takes itself to be cut off. Nothing is taken away or changed.
        default_ttl: seconds, when the policy has none.
    """
    memory = memory or Memory()
    placed = sorted((one for one in members if one.phase != LEAVING), key=lambda member: member.cluster)
    if isolated and memory.records:
        return memory
    serving = [member for member in placed if member.serves]
    well = {member.cluster: memory.well_since.get(member.cluster, now) for member in serving}
    losses = _losses(memory, placed, well, now)
    if not serving:
        return _without_anybody(placed, policy, memory, losses, now)
    due: list[float] = []
    steady = _steady(serving, policy, memory, well, losses, now, due)
    chosen = _choose(serving, policy, memory, well, now, due) if policy.strategy == FAILOVER else ""
    ttl = default_ttl if policy.ttl is None else policy.ttl
    records = _records(service, placed, serving if chosen else steady, policy, chosen, ttl)
    return Memory(records, well, losses, None, chosen, min(due, default=None))


def _losses(
    memory: Memory, placed: Sequence[MemberFacts], well: Mapping[str, float], now: float
) -> dict[str, tuple[float, ...]]:
    found = {}
    for member in placed:
        name = member.cluster
        times = tuple(at for at in memory.losses.get(name, ()) if now - at < LOSSES_COUNT)
        if well and name in memory.well_since and name not in well:
            times = (*times, now)[-MOST_LOSSES:]
        if times:
            found[name] = times
    return found


def _steady(
    serving: Sequence[MemberFacts],
    policy: DnsPolicy,
    memory: Memory,
    well: Mapping[str, float],
    losses: Mapping[str, tuple[float, ...]],
    now: float,
    due: list[float],
) -> list[MemberFacts]:
    """
    Without those that came back just now: what flaps does not come in again each time. Better them than nobody.

    A name whose answer changes every ten seconds is worse than one that does without a cluster for a while.
    """
    steady = []
    for member in serving:
        times = losses.get(member.cluster, ())
        wait = min(policy.failback_seconds, FIRST_RETURN * 2.0 ** (len(times) - 1)) if times else 0.0
        back = well[member.cluster] + wait
        if member.cluster in memory.clusters or back <= now:
            steady.append(member)
        else:
            due.append(back)
    return steady or list(serving)


def _without_anybody(
    placed: Sequence[MemberFacts],
    policy: DnsPolicy,
    memory: Memory,
    losses: Mapping[str, tuple[float, ...]],
    now: float,
) -> Memory:
    """Keep the last answer for a while, unless the endpoints are known to be gone in every member."""
    since = now if memory.unwell_since is None else memory.unwell_since
    until = since + policy.stale_seconds
    if not memory.records or now >= until or all(member.surely_empty for member in placed):
        return Memory(losses=losses, unwell_since=since if placed else None)
    kept = tuple(record._replace(stale=True) for record in memory.records)
    return Memory(kept, {}, losses, since, memory.chosen, until)


def _choose(
    serving: Sequence[MemberFacts],
    policy: DnsPolicy,
    memory: Memory,
    well: Mapping[str, float],
    now: float,
    due: list[float],
) -> str:
    """The first in order, but one that comes back has to stay well for a while before it takes over again."""
    names = [member.cluster for member in _next_in_order(serving, policy, "")]
    if memory.chosen not in names:
        return names[0]
    better = names[: names.index(memory.chosen)]
    back = {name: well[name] + policy.failback_seconds for name in better}
    due += [at for at in back.values() if at > now]
    return next((name for name in better if back[name] <= now), memory.chosen)


def _records(
    service: FederatedService,
    placed: Sequence[MemberFacts],
    serving: Sequence[MemberFacts],
    policy: DnsPolicy,
    chosen: str,
    ttl: int,
) -> tuple[RecordSet, ...]:
    last = _at_the_end(serving, policy, chosen)
    standby = _next_in_order(serving, policy, chosen) if chosen else ()
    names = (service.global_name, *_hosts(policy, service.domain))
    found = [_answers(name, last, policy, ttl, standby=standby) for name in names]
    for region in sorted({member.region for member in placed if member.region}):
        near = _in_region(region, serving, policy)
        found.append(_answers(service.region_name(region), near, policy, ttl, otherwise=service.global_name))
        zones = {zone for member in placed if member.region == region for zone in member.zones}
        for zone in sorted(zones):
            here = [member for member in near if zone in member.zones] if policy.strategy == LOCALITY else []
            name = service.zone_name(zone, region)
            found.append(_answers(name, here, policy, ttl, otherwise=service.region_name(region)))
    return tuple(record for records in found for record in records)


def _at_the_end(serving: Sequence[MemberFacts], policy: DnsPolicy, chosen: str) -> list[MemberFacts]:
    if policy.strategy == FAILOVER:
        return [member for member in serving if member.cluster == chosen]
    if policy.strategy == WEIGHTED:
        # Weight 0 drains a member, but better that one than nobody.
        return [member for member in serving if policy.weights.get(member.cluster, 1)] or list(serving)
    return list(serving)


def _next_in_order(serving: Sequence[MemberFacts], policy: DnsPolicy, chosen: str) -> list[MemberFacts]:
    rank = {cluster: index for index, cluster in enumerate(policy.order)}
    others = [member for member in serving if member.cluster != chosen]
    return sorted(others, key=lambda member: (rank.get(member.cluster, len(rank)), member.cluster))


def _in_region(region: str, serving: Sequence[MemberFacts], policy: DnsPolicy) -> list[MemberFacts]:
    if policy.strategy == LOCALITY:
        return [member for member in serving if member.region == region]
    if policy.strategy == GEO:
        return [one for one in serving if one.cluster in policy.geo and region in policy.geo[one.cluster].regions]
    return []


def _hosts(policy: DnsPolicy, domain: str) -> list[str]:
    """A policy's hosts as whole names, each once; `www` and `www.example.com` are the same in `example.com`."""
    names = (host.rstrip(".").lower() for host in policy.hosts)
    return list(dict.fromkeys(n if n == domain or n.endswith(f".{domain}") else f"{n}.{domain}" for n in names if n))


def _answers(
    name: str,
    members: Sequence[MemberFacts],
    policy: DnsPolicy,
    ttl: int,
    *,
    otherwise: str = "",
    standby: Sequence[MemberFacts] = (),
) -> list[RecordSet]:
    name = name.lower()
    hostnames = [(hostname, member) for member in members for hostname in member.hostnames]
    targets, waiting = _by_type(members, policy), _by_type(standby, policy)
    alone = len(hostnames) == 1 and not any(member.addresses for member in members)
    if targets and not alone:
        return [
            RecordSet(name, rtype, ttl, targets[rtype], standby=waiting.get(rtype, ()), check=policy.check)
            for rtype in sorted(targets)
        ]
    if hostnames:
        # A name has one CNAME at most: of several, the first while none could be resolved yet.
        hostname, member = hostnames[0]
        return [RecordSet(name, "CNAME", ttl, (Target(hostname.rstrip(".").lower(), member.cluster),))]
    return [RecordSet(name, "CNAME", ttl, (Target(otherwise.lower()),))] if otherwise else []


def _by_type(members: Sequence[MemberFacts], policy: DnsPolicy) -> dict[str, tuple[Target, ...]]:
    found: dict[str, list[Target]] = {}
    for member in members:
        for address in dict.fromkeys((*member.addresses, *member.resolved)):
            rtype = "A" if ip_address(address).version == 4 else "AAAA"
            found.setdefault(rtype, []).append(_target(address, member, policy))
    return {rtype: tuple(targets) for rtype, targets in found.items()}


def _target(address: str, member: MemberFacts, policy: DnsPolicy) -> Target:
    weight = policy.weights.get(member.cluster, 1) or 1 if policy.strategy == WEIGHTED else None
    geo = policy.geo.get(member.cluster) if policy.strategy == GEO else None
    return Target(address, member.cluster, weight, geo.networks if geo else (), geo.places if geo else ())

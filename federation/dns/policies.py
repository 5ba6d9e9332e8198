"""Which DNSPolicy is in force for a Service, and what it says. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cluster.machinery.objects import Object
from federation.dns.addresses import AUTO
from federation.dns.recordsets import HealthCheck

LOCALITY, ROUND_ROBIN, WEIGHTED, FAILOVER, GEO = "Locality", "RoundRobin", "Weighted", "Failover", "Geo"


@dataclass(frozen=True, slots=True)
class Geo:
    networks: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    """`country/DE`, `continent/EU`."""


@dataclass(frozen=True, slots=True)
class DnsPolicy:
    strategy: str = LOCALITY
    hosts: tuple[str, ...] = ()
    ttl: int | None = None
    """Seconds; None: the default of whoever serves the zone."""
    weights: Mapping[str, int] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    failback_seconds: int = 60
    geo: Mapping[str, Geo] = field(default_factory=dict)
    stale_seconds: int = 300
    addresses: str = AUTO
    """Where addresses come from: federation.dns.addresses."""
    check: HealthCheck | None = None


DEFAULT = DnsPolicy()


def read_policy(spec: Object) -> DnsPolicy:
    """A DNSPolicy's (or ClusterDNSPolicy's) spec, which its schema has checked."""
    return DnsPolicy(
        strategy=spec.get("strategy") or LOCALITY,
        hosts=tuple(spec.get("hosts") or ()),
        ttl=spec.get("ttl"),
        weights={one["cluster"]: one["weight"] for one in spec.get("weights") or () if "weight" in one},
        order=tuple(spec.get("order") or ()),
        failback_seconds=spec.get("failbackSeconds", 60),
        geo={
            one["cluster"]: Geo(tuple(one.get("networks") or ()), tuple(one.get("regions") or ()), _places(one))
            for one in spec.get("geo") or ()
        },
        stale_seconds=spec.get("staleSeconds", 300),
        addresses=spec.get("addresses") or AUTO,
        check=_health_check(spec.get("healthCheck")),
    )


def _places(geo: Object) -> tuple[str, ...]:
    return (
        *(f"country/{one}" for one in geo.get("countries") or ()),
        *(f"continent/{one}" for one in geo.get("continents") or ()),
    )


def _health_check(spec: Object | None) -> HealthCheck | None:
    if not spec:
        return None
    protocol = spec.get("protocol") or "TCP"
    path = "" if protocol == "TCP" else spec.get("path") or "/"
    return HealthCheck(protocol, spec["port"], path, spec.get("intervalSeconds", 30), spec.get("failures", 3))


def policy_for(service: Object, namespaced: Iterable[Object], cluster_wide: Iterable[Object]) -> DnsPolicy:
    """The first by name that selects the Service: of its namespace, else of the whole federation, else the default."""
    metadata = service["metadata"]
    local = [one for one in namespaced if one["metadata"].get("namespace") == metadata["namespace"]]
    for candidates in (local, list(cluster_wide)):
        for one in sorted(candidates, key=lambda policy: str(policy["metadata"]["name"])):
            if selects(one["spec"], metadata["name"], metadata.get("labels") or {}):
                return read_policy(one["spec"])
    return DEFAULT


def selects(spec: Object, name: str, labels: Mapping[str, str]) -> bool:
    """Whether a policy means this Service: by name or by labels; one that names nothing means all."""
    names, selector = spec.get("serviceNames") or (), spec.get("services") or {}
    if names:
        return name in names
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(expression, labels) for expression in selector.get("matchExpressions") or ())


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None

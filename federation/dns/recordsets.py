"""Records as they are planned: names in text without a final dot, lower case. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from cluster.machinery.objects import Object


class Target(NamedTuple):
    """One value of a record, and of which cluster it is."""

    value: str
    cluster: str = ""
    weight: int | None = None
    """How often it is the one that is answered, in relation to the others; None: all are answered."""
    networks: tuple[str, ...] = ()
    """CIDRs of the clients that get it first."""
    places: tuple[str, ...] = ()
    """`country/DE`, `continent/EU`: where those clients are, for providers that know where clients are."""


class HealthCheck(NamedTuple):
    """How a provider that can look itself finds out whether a cluster serves."""

    protocol: str
    """HTTP, HTTPS or TCP."""
    port: int
    path: str = ""
    interval: int = 30
    """Seconds: 10 or 30."""
    failures: int = 3


class RecordSet(NamedTuple):
    name: str
    type: str
    """A, AAAA or CNAME."""
    ttl: int
    """Seconds."""
    targets: tuple[Target, ...]
    stale: bool = False
    """Every cluster looks unwell: this is what was answered last."""
    standby: tuple[Target, ...] = ()
    """Of failover: who is next, best first, for providers that fail over by themselves. Answered by nobody else."""
    check: HealthCheck | None = None


Group = dict[str, RecordSet]
"""Type -> the records at one name."""


def by_name(records: Iterable[RecordSet]) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    for record in records:
        groups.setdefault(record.name, {})[record.type] = record
    return groups


def from_spec(spec: Object) -> tuple[RecordSet, ...]:
    """The records of a DNSRecordSet's spec."""
    return tuple(
        RecordSet(
            each["name"].rstrip(".").lower(),
            each["type"],
            each["ttl"],
            tuple(_target(target) for target in each.get("targets") or ()),
            bool(each.get("stale")),
            tuple(_target(target) for target in each.get("standby") or ()),
            HealthCheck(**each["check"]) if each.get("check") else None,
        )
        for each in spec.get("records") or ()
    )


def _target(raw: Object) -> Target:
    networks, places = (tuple(raw.get(key) or ()) for key in ("networks", "places"))
    return Target(raw["value"], raw.get("cluster") or "", raw.get("weight"), networks, places)


def to_spec(records: Iterable[RecordSet]) -> Object:
    """A DNSRecordSet's spec; what is empty is left away."""
    return {"records": [_record_object(record) for record in records]}


def _record_object(record: RecordSet) -> Object:
    written: dict[str, Any] = {"name": record.name, "type": record.type, "ttl": record.ttl}
    written["targets"] = [_target_object(target) for target in record.targets]
    if record.stale:
        written["stale"] = True
    if record.standby:
        written["standby"] = [_target_object(target) for target in record.standby]
    if record.check is not None:
        written["check"] = record.check._asdict()
    return written


def _target_object(target: Target) -> Object:
    raw: dict[str, Any] = {"value": target.value}
    if target.cluster:
        raw["cluster"] = target.cluster
    if target.weight is not None:
        raw["weight"] = target.weight
    if target.networks:
        raw["networks"] = list(target.networks)
    if target.places:
        raw["places"] = list(target.places)
    return raw

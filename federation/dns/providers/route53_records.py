"""
Records as Route53 has them: one record set an address list, or one a cluster with weight, role, place and check. Pure.

    Weighted     a set a cluster, its weight; a check where the policy has one
    Failover     PRIMARY is the cluster that we chose, SECONDARY the next; Route53 goes over by itself by the check
    Geo          a set a place, and one for everywhere else
    else         one set with all values
Source: the Route53 API, ChangeResourceRecordSets.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from federation.dns.recordsets import Group, HealthCheck, RecordSet, Target

Set = dict[str, Any]
"""A ResourceRecordSet of the API."""
CheckIds = Mapping[str, str]
"""Cluster -> id of its health check, for one name."""

MANAGED = ("A", "AAAA", "CNAME")
MAX_WEIGHT = 255
ELSEWHERE = "elsewhere"
_MAX_IDENTIFIER = 128
_ESCAPE = re.compile(r"\\([0-7]{3})")


def expressible(group: Group) -> Group:
    """What of a group Route53 can have: no networks; clusters where each has a set of its own."""
    return {rtype: _expressible(record) for rtype, record in group.items()}


def _expressible(record: RecordSet) -> RecordSet:
    plain = record._replace(stale=False)
    match _kind(record):
        case "weighted":
            targets = [one._replace(weight=min(one.weight or 0, MAX_WEIGHT), networks=(), places=())
                       for one in record.targets]  # fmt: skip
            return plain._replace(targets=tuple(targets), standby=())
        case "failover":
            second = record.standby[0].cluster
            standby = [Target(one.value, one.cluster) for one in record.standby if one.cluster == second]
            first = record.targets[0].cluster
            targets = [Target(one.value, one.cluster) for one in record.targets if one.cluster == first]
            return plain._replace(targets=tuple(targets), standby=tuple(standby))
        case "geo":
            targets = [Target(one.value, places=tuple(sorted(one.places))) for one in record.targets]
            return plain._replace(targets=tuple(targets), standby=(), check=None)
        case _:
            values = dict.fromkeys(one.value for one in record.targets)
            return plain._replace(targets=tuple(map(Target, values)), standby=(), check=None)


def _kind(record: RecordSet) -> str:
    if record.type == "CNAME":
        return "simple"
    if record.standby:
        return "failover"
    if any(one.weight is not None for one in record.targets):
        return "weighted"
    return "geo" if any(one.places for one in record.targets) else "simple"


def clusters_to_check(group: Group) -> dict[str, tuple[str, HealthCheck]]:
    """Cluster -> (address, how); of an expressible group. One check a cluster does for all of its addresses."""
    found: dict[str, tuple[str, HealthCheck]] = {}
    for record in group.values():
        for target in (*record.targets, *record.standby) if record.check is not None else ():
            if record.check is not None:
                found.setdefault(target.cluster, (target.value, record.check))
    return found


def sets_of(group: Group, checks: CheckIds) -> list[Set]:
    """Of an expressible group."""
    return [one for rtype in sorted(group) for one in _sets(group[rtype], checks)]


def _sets(record: RecordSet, checks: CheckIds) -> list[Set]:
    match _kind(record):
        case "weighted":
            found = []
            for cluster, targets in _by_cluster(record.targets).items():
                more: Set = {"SetIdentifier": cluster, "Weight": targets[0].weight}
                found.append(_set(record, targets, more, checks.get(cluster) if record.check else None))
            return found
        case "failover":
            sides = (("PRIMARY", record.targets), ("SECONDARY", record.standby))
            return [
                _set(record, targets, {"SetIdentifier": targets[0].cluster, "Failover": side},
                     checks.get(targets[0].cluster) if record.check else None)
                for side, targets in sides
            ]  # fmt: skip
        case "geo":
            return _geo_sets(record)
        case _:
            return [_set(record, record.targets, {}, None)]


def _geo_sets(record: RecordSet) -> list[Set]:
    by_place: dict[str, list[Target]] = {}
    for target in record.targets:
        for place in target.places:
            by_place.setdefault(place, []).append(target)
    anywhere = [one for one in record.targets if not one.places] or list(record.targets)
    found = [_set(record, anywhere, {"SetIdentifier": ELSEWHERE, "GeoLocation": {"CountryCode": "*"}}, None)]
    for place, targets in sorted(by_place.items()):
        kind, _, code = place.partition("/")
        location = {"ContinentCode": code} if kind == "continent" else {"CountryCode": code}
        found.append(_set(record, targets, {"SetIdentifier": place, "GeoLocation": location}, None))
    return found


def _set(record: RecordSet, targets: Sequence[Target], more: Set, check: str | None) -> Set:
    dot = "." if record.type == "CNAME" else ""
    values = [{"Value": f"{one.value}{dot}"} for one in targets]
    found = {"Name": f"{record.name}.", "Type": record.type, "TTL": record.ttl, "ResourceRecords": values, **more}
    if "SetIdentifier" in found:
        found["SetIdentifier"] = found["SetIdentifier"][:_MAX_IDENTIFIER]
    return {**found, "HealthCheckId": check} if check else found


def _by_cluster(targets: Iterable[Target]) -> dict[str, list[Target]]:
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(target.cluster, []).append(target)
    return found


def group_of(sets: Iterable[Set], checks: Mapping[str, HealthCheck]) -> Group:
    """
    What one name has, as an expressible group; what is not ours in form (an alias, a region) is told by a value of it.

    Args:
        checks: by id.
    """
    by_type: dict[str, list[Set]] = {}
    for one in sets:
        if one["Type"] in MANAGED:
            by_type.setdefault(one["Type"], []).append(one)
    return {rtype: _record(rtype, found, checks) for rtype, found in by_type.items()}


def _record(rtype: str, sets: Sequence[Set], checks: Mapping[str, HealthCheck]) -> RecordSet:
    name, ttl = name_of(sets[0]), int(sets[0].get("TTL", 0))
    targets: list[Target] = []
    standby: list[Target] = []
    places: dict[str, list[str]] = {}
    check = next((checks.get(one["HealthCheckId"]) for one in sets if one.get("HealthCheckId")), None)
    for one in sets:
        values = [each["Value"].rstrip(".") for each in one.get("ResourceRecords") or ()]
        if "AliasTarget" in one:
            values = [f"alias of {one['AliasTarget'].get('DNSName', '')}"]
        identifier = one.get("SetIdentifier", "")
        if "GeoLocation" in one:
            location = one["GeoLocation"]
            for value in values:
                known = places.setdefault(value, [])
                if "ContinentCode" in location:
                    known.append(f"continent/{location['ContinentCode']}")
                elif location.get("CountryCode") != "*":
                    known.append(f"country/{location['CountryCode']}")
        elif one.get("Failover") == "SECONDARY":
            standby += [Target(value, identifier) for value in values]
        else:
            targets += [Target(value, identifier, one.get("Weight")) for value in values]
    targets += [Target(value, places=tuple(sorted(found))) for value, found in places.items()]
    return RecordSet(name, rtype, ttl, tuple(targets), standby=tuple(standby), check=check)


def name_of(record_set: Set) -> str:
    """Without the final dot; Route53 writes unusual characters as octal numbers."""
    text = str(record_set["Name"]).rstrip(".")
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text).lower()


def texts(record_set: Set) -> list[str]:
    """Of a TXT set."""
    return [each["Value"].strip('"') for each in record_set.get("ResourceRecords") or ()]

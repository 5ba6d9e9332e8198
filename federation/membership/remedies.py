"""Which remedies are in force for a member: taints, and no traffic, while its conditions ask for it. Pure."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.machinery.objects import Object
from cluster.machinery.timestamps import format_time, parse_time

STOP = "Stop"
_UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class InForce:
    entries: tuple[Object, ...]
    """For Cluster.status.remedies, by name."""
    again: float | None = None
    """Seconds after which time alone may change it."""


def in_force(cluster: Object, meant: Iterable[Object], now: dt.datetime) -> InForce:
    """`meant`: the ClusterRemedies that mean this cluster."""
    status = cluster.get("status") or {}
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    before = {one["name"]: one for one in status.get("remedies") or ()}
    entries, again = [], None
    for remedy in sorted(meant, key=lambda one: str(one["metadata"]["name"])):
        spec, name = remedy["spec"], remedy["metadata"]["name"]
        known = before.get(name)
        if known is not None:
            goes_on = not _hold(spec["until"], conditions) if spec.get("until") else _hold(spec.get("when"), conditions)
            if goes_on:
                entries.append(_entry(name, spec, known["since"]))
            continue
        if not _hold(spec.get("when"), conditions):
            continue
        left = _seconds_left(spec, conditions, now)
        if left <= 0:
            entries.append(_entry(name, spec, format_time(now)))
        else:
            again = left if again is None else min(again, left)
    return InForce(tuple(entries), again)


def is_without_traffic(cluster: Object) -> bool:
    return any(one.get("traffic") == STOP for one in (cluster.get("status") or {}).get("remedies") or ())


def _entry(name: str, spec: Object, since: str) -> Object:
    entry: Object = {"name": name, "since": since}
    if spec.get("traffic") == STOP:
        entry["traffic"] = STOP
    if spec.get("taints"):
        entry["taints"] = [{**taint, "timeAdded": since} for taint in spec["taints"]]
    return entry


def _hold(wanted: Iterable[Object] | None, conditions: Mapping[str, Object]) -> bool:
    for one in wanted or ():
        status = conditions.get(one["condition"], {}).get("status") or _UNKNOWN
        if (status == one["status"]) != ((one.get("operator") or "Equal") == "Equal"):
            return False
    return True


def _seconds_left(spec: Object, conditions: Mapping[str, Object], now: dt.datetime) -> float:
    """Until all that is asked for has been so for long enough; a condition without a time has always been so."""
    times = [conditions.get(one["condition"], {}).get("lastTransitionTime") for one in spec.get("when") or ()]
    began = max((parse_time(time) for time in times if time), default=None)
    return 0.0 if began is None else (spec.get("forSeconds") or 0) - (now - began).total_seconds()

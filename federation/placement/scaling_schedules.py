"""Which rule of a ScalingSchedule is due, and when the next one will be. Pure; times are aware."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfoNotFoundError

from cluster.api.validation.cron import check_schedule
from cluster.machinery.cron_schedule import Schedule, latest_strike, zone_of
from cluster.machinery.objects import Object
from cluster.machinery.timestamps import parse_time
from federation.placement.workloads import AUTOSCALER


@dataclass(frozen=True, slots=True)
class Due:
    """What a look at a schedule finds."""

    rule: Object | None = None
    """The one that is to be carried out now."""
    time: dt.datetime | None = None
    """When it was due."""
    next_time: dt.datetime | None = None
    faults: tuple[str, ...] = ()
    """Rules that cannot be understood, and why; the others count."""


def due(schedule: Object, now: dt.datetime) -> Due:
    """
    Of all strikes since the last look, the latest alone: what it replaced is over.

    Strikes from before the schedule was made, or changed its rules, do not count.
    """
    status, metadata = schedule.get("status") or {}, schedule["metadata"]
    since = max(parse_time(time) for time in (metadata["creationTimestamp"], status.get("lastTime")) if time)
    found, faults = Due(), []
    for rule in schedule["spec"]["rules"]:
        if rule.get("suspend"):
            continue
        try:
            check_schedule(rule["schedule"])
            parsed, zone = Schedule.parse(rule["schedule"]), zone_of(rule.get("timeZone"))
        except (ValueError, ZoneInfoNotFoundError) as wrong:
            faults.append(f"rule {rule['name']}: {wrong}")
            continue
        strike, _ = latest_strike(parsed, since, now, zone)
        if strike is not None and (found.time is None or strike > found.time):
            found = Due(rule, strike, found.next_time)
        coming = parsed.next_after(now, zone)
        if coming is not None and (found.next_time is None or coming < found.next_time):
            found = Due(found.rule, found.time, coming)
    return Due(found.rule, found.time, found.next_time, tuple(faults))


def change(rule: Object, target: Object) -> Object:
    """What a rule makes of its target's spec, as a merge patch. Raises ValueError where the two do not fit."""
    group_kind = ((target.get("apiVersion") or "").rpartition("/")[0], target.get("kind") or "")
    if group_kind == AUTOSCALER:
        wanted: Object = {field: rule[field] for field in ("minReplicas", "maxReplicas") if field in rule}
        if not wanted:
            raise ValueError(f"rule {rule['name']} has replicas, and an autoscaler has minReplicas and maxReplicas")
        return dict(_within_bounds(wanted, target.get("spec") or {}))
    if "replicas" not in rule:
        raise ValueError(f"rule {rule['name']} has no replicas for {target.get('kind')}")
    return {"replicas": rule["replicas"]}


def _within_bounds(wanted: Object, spec: Object) -> Iterator[tuple[str, int]]:
    """A rule that sets one of the two moves the other along where it has to."""
    least, most = wanted.get("minReplicas"), wanted.get("maxReplicas")
    if least is not None:
        yield "minReplicas", least
        if most is None and (spec.get("maxReplicas") or least) < least:
            yield "maxReplicas", least
    if most is not None:
        yield "maxReplicas", most
        if least is None and (spec.get("minReplicas") or 1) > most:
            yield "minReplicas", most

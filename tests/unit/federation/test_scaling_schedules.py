"""Which rule is due: the latest that struck, and no strike from before the schedule was there."""

import datetime as dt
from typing import Any

import pytest

from cluster.machinery.timestamps import format_time
from federation.placement.scaling_schedules import change, due

NIGHT = {"name": "night", "schedule": "0 20 * * *", "replicas": 1}
DAY = {"name": "day", "schedule": "0 8 * * *", "replicas": 9, "timeZone": "Europe/Berlin"}
AUTOSCALER = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}


def at(hour: int, minute: int = 0, day: int = 2) -> dt.datetime:
    return dt.datetime(2026, 1, day, hour, minute, tzinfo=dt.UTC)


def schedule(*rules: dict[str, Any], made: dt.datetime, last: dt.datetime | None = None) -> dict[str, Any]:
    status = {"lastTime": format_time(last)} if last is not None else {}
    return {"metadata": {"creationTimestamp": format_time(made)}, "spec": {"rules": list(rules)}, "status": status}


def test_a_rule_is_due_once_at_its_time_in_its_zone() -> None:
    found = due(schedule(DAY, NIGHT, made=at(6)), at(7, 1))
    assert (found.rule, found.time, found.next_time) == (DAY, at(7), at(20))
    found = due(schedule(DAY, NIGHT, made=at(6), last=at(7)), at(7, 2))
    assert (found.rule, found.next_time) == (None, at(20))


def test_nothing_is_made_up_for_from_before_the_schedule_was_there() -> None:
    assert due(schedule(DAY, NIGHT, made=at(7, 1)), at(8)).rule is None


def test_of_what_was_missed_the_latest_counts() -> None:
    assert due(schedule(DAY, NIGHT, made=at(6), last=at(7)), at(3, day=4)).rule == NIGHT


def test_suspended_and_broken_rules_do_not_count_and_the_others_do() -> None:
    broken = [{"name": "x", "schedule": "61 * * * *"}, {"name": "y", "schedule": "@daily", "timeZone": "Mars/Base"}]
    found = due(schedule({**DAY, "suspend": True}, NIGHT, *broken, made=at(6)), at(21))
    assert found.rule == NIGHT
    assert [fault.split(":")[0] for fault in found.faults] == ["rule x", "rule y"]


@pytest.mark.parametrize(
    ("rule", "bounds", "changed"),
    [
        ({"minReplicas": 3, "maxReplicas": 9}, {"maxReplicas": 5}, {"minReplicas": 3, "maxReplicas": 9}),
        ({"minReplicas": 7}, {"maxReplicas": 5}, {"minReplicas": 7, "maxReplicas": 7}),
        ({"maxReplicas": 2}, {"minReplicas": 4, "maxReplicas": 9}, {"maxReplicas": 2, "minReplicas": 2}),
        ({"maxReplicas": 4}, {"maxReplicas": 9}, {"maxReplicas": 4}),
    ],
)
def test_an_autoscalers_bounds_stay_in_order(
    rule: dict[str, Any], bounds: dict[str, Any], changed: dict[str, Any]
) -> None:
    assert change({"name": "r", **rule}, {**AUTOSCALER, "spec": bounds}) == changed


def test_a_rule_that_does_not_fit_its_target_says_so() -> None:
    with pytest.raises(ValueError, match="rule day has replicas, and an autoscaler has minReplicas"):
        change(DAY, AUTOSCALER)
    with pytest.raises(ValueError, match="rule r has no replicas for Deployment"):
        change({"name": "r", "maxReplicas": 2}, {"apiVersion": "apps/v1", "kind": "Deployment"})

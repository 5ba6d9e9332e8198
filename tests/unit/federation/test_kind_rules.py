"""Kinds that the federation does not know by itself, understood by KindRules."""

import datetime as dt
from typing import Any

import pytest

from federation.api.refs import Ref
from federation.controllers.keep_kind_rules import accepted
from federation.controllers.placing.reports import Report, is_ready
from federation.placement.aggregate import Reported, aggregate
from federation.placement.dependencies import dependencies_of
from federation.placement.kind_rules import (
    KindRule,
    RuleError,
    dependencies_by,
    in_force,
    kind_rule_of,
    read_as,
    write_into,
)
from federation.placement.members import READY, Member
from federation.placement.plan import plan
from federation.placement.plans import Assignment
from federation.placement.render import render
from federation.placement.workloads import demand_of, is_divided

POD = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}], "serviceAccountName": "robot"}}
FLEET: dict[str, Any] = {
    "apiVersion": "games.example.com/v1",
    "kind": "Fleet",
    "metadata": {"name": "arena", "namespace": "play", "uid": "u"},
    "spec": {"size": {"wanted": 5}, "pod": POD, "ports": [{"port": 1, "node": 30001}, {"port": 2}], "map": "maps-1"},
}
REF = Ref("games.example.com", "Fleet", "play", "arena")
MEMBERS = [Member("east", phase=READY), Member("west", phase=READY)]


def rule(name: str = "fleets", created: str = "2026-11-28T10:00:00Z", **spec: Any) -> KindRule:
    spec = {"target": {"group": "games.example.com", "kind": "Fleet"}, **spec}
    return kind_rule_of({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec})


SIZED = rule(replicas=".spec.size.wanted", podTemplate=".spec.pod", memberOwned=[".spec.ports[*].node", ".spec.absent"])


def test_replicas_are_divided_where_the_rule_says_that_they_are() -> None:
    seen = read_as(FLEET, SIZED)
    assert is_divided(seen)
    assert demand_of(seen).cpu == 2000
    found = plan(seen, MEMBERS).assignments
    assert sorted(one.replicas or 0 for one in found) == [2, 3]
    assert not is_divided(read_as({**FLEET, "spec": {"pod": POD}}, SIZED))
    assert read_as(FLEET, rule()) is FLEET


def test_each_member_gets_its_part_and_not_what_it_decides_itself() -> None:
    spec = render(FLEET, Assignment("east", 3), SIZED.paths)["spec"]
    assert spec["size"] == {"wanted": 3}
    assert spec["ports"] == [{"port": 1}, {"port": 2}]
    assert render(FLEET, Assignment("east"), SIZED.paths)["spec"]["size"] == {}  # an autoscaler there decides
    assert FLEET["spec"]["size"] == {"wanted": 5}
    unlike: dict[str, Any] = {"spec": {"size": "large", "ports": "none"}}
    write_into(unlike, SIZED.paths, 3)
    assert unlike == {"spec": {"size": "large", "ports": "none"}}


def test_what_pods_and_the_rule_name_is_needed() -> None:
    named = rule(dependencies="[{'apiVersion': 'v1', 'kind': 'ConfigMap', 'name': object.spec.map}]")
    assert [one.name for one in dependencies_of(read_as(FLEET, SIZED))] == ["robot"]
    assert dependencies_by(named, FLEET) == (("v1", "ConfigMap", "play", "maps-1"),)
    elsewhere = "[{'apiVersion': 'v1', 'kind': 'Secret', 'name': 'x', 'namespace': 'kube-system'}]"
    assert [one.namespace for one in dependencies_by(rule(dependencies=elsewhere), FLEET)] == ["play"]


@pytest.mark.parametrize(
    ("status", "well"), [({"running": 3}, True), ({"running": 2}, False), ({}, False), ({"running": "x"}, False)]
)
def test_health_is_what_the_rule_says_and_not_given_where_it_says_nothing(status: dict[str, Any], well: bool) -> None:
    ready = rule(health="status.running >= replicas")
    assert is_ready(REF, Assignment("east", 3), Report("Applied", status=status), ready) is well
    assert not is_ready(REF, Assignment("east", 3), Report("Pending", status={"running": 3}), ready)


def test_numbers_are_added_up_and_conditions_are_the_worst() -> None:
    ready, not_ready = ({"type": "Ready", "status": status} for status in ("True", "False"))
    east = Reported("east", {"running": 3, "observedGeneration": 2, "conditions": [ready]}, 2)
    west = Reported("west", {"running": 2, "observedGeneration": 7, "conditions": [not_ready]}, 7)
    template = {**FLEET, "metadata": {"name": "arena", "generation": 4}}
    found = aggregate(template, [east, west], rule(status={"sum": ["running", "lost"]}))
    assert found is not None
    assert (found["running"], found["observedGeneration"], found["conditions"][0]["status"]) == (5, 4, "False")


def test_a_status_is_computed_from_all_members() -> None:
    expression = (
        "{'running': clusters.map(c, int(c.status.?running.orValue(0))).sum(),"
        " 'of': object.spec.size.wanted, 'in': clusters.filter(c, c.current).map(c, c.name)}"
    )
    reports = [Reported("east", {"running": 3}), Reported("west", None, current=False)]
    found = aggregate(FLEET, reports, rule(status={"expression": expression}))
    assert found == {"running": 3, "of": 5, "in": ["east"]}


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("{'x': clusters[9].name}", "index out of bounds"),
        ("'text'", "is no map"),
        ("{'x': duration('1s')}", "JSON has no word"),
        ("{'x': clusters.map(a, clusters.map(b, [a, b]))}", ""),
        ("{'x': [1,2,3,4,5,6,7,8,9].map(a, " + "[1,2,3,4,5,6,7,8,9].map(b, " * 6 + "a" + ")" * 6 + ")}", "cost"),
    ],
)
def test_an_expression_that_fails_is_told_and_nothing_else_changes(expression: str, why: str) -> None:
    times = [{"type": "Up", "status": "True", "lastTransitionTime": "2026-11-28T11:00:00Z"}]
    reports = [Reported("east", {"phase": "Up", "conditions": times})]
    found = aggregate(FLEET, reports, rule(status={"expression": expression}))
    assert found is not None
    if not why:
        assert "x" in found
        return
    assert found["phase"] == "Up"
    told = found["conditions"][-1]
    assert (told["type"], told["status"], told["reason"]) == ("StatusUnderstood", "False", "RuleFailed")
    assert "KindRule fleets" in told["message"]
    assert why in told["message"]
    assert told["lastTransitionTime"] == "2026-11-28T11:00:00Z"  # kinds require one


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"health": "status.running >="}, "health is no expression"),
        ({"health": "object.spec.x"}, "undeclared reference to 'object'"),
        ({"replicas": ".metadata.generation"}, r"\.metadata\.generation is not for rules"),
        ({"memberOwned": [".status"]}, r"\.status is not for rules"),
        ({"target": {"group": "apps", "kind": "Deployment"}, "replicas": ".spec.x"}, "is known"),
    ],
)
def test_rules_that_cannot_be_used_say_why(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(RuleError, match=why):
        rule(**spec)


def test_of_two_rules_the_older_one_counts() -> None:
    old, new = rule("b", "2026-11-28T10:00:00Z"), rule("a", "2026-11-28T11:00:00Z")
    assert in_force([new, old])["games.example.com", "Fleet"] is old


def test_a_rule_is_told_once_whether_it_counts() -> None:
    now = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
    obj: dict[str, Any] = {"metadata": {"name": "fleets", "generation": 1}}
    first = accepted(obj, "", now)
    assert first is not None
    assert (first["status"], first["lastTransitionTime"]) == ("True", "2026-11-28T12:00:00Z")
    obj["status"] = {"conditions": [first]}
    assert accepted(obj, "", now + dt.timedelta(hours=1)) is None
    broken = accepted(obj, "no expression", now + dt.timedelta(hours=1))
    assert broken is not None
    assert (broken["status"], broken["message"]) == ("False", "no expression")
    assert broken["lastTransitionTime"] == "2026-11-28T13:00:00Z"

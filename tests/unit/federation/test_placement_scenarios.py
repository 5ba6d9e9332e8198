"""The folder tests/scenarios/placement: an object, its policy and the members in, a plan out."""

import pathlib
from typing import Any

import pytest
import yaml

from federation.placement.members import Capacity, Member
from federation.placement.plan import Assignment, Displaced, Plan, Situation, plan
from federation.placement.policies import PropagationPolicy, propagation_policy_of

ROOT = pathlib.Path(__file__).parents[2] / "scenarios" / "placement"
SCENARIOS = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(ROOT.glob("*.yaml"))
    for case in yaml.safe_load(path.read_text())
]
API_VERSIONS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
    "ConfigMap": "v1",
    "Widget": "example.com/v1",
}


def template_of(case: dict[str, Any]) -> dict[str, Any]:
    kind = case.get("kind", "Deployment")
    container = {"name": "c", "resources": {"requests": {"cpu": case["cpu"]} if "cpu" in case else {}}}
    spec: dict[str, Any] = {"template": {"spec": {"containers": [container]}}}
    if "replicas" in case:
        spec["parallelism" if kind == "Job" else "replicas"] = case["replicas"]
    if "completions" in case:
        spec["completions"] = case["completions"]
    if case.get("indexed"):
        spec["completionMode"] = "Indexed"
    metadata = {"name": "web", "namespace": "shop", "annotations": case.get("annotations", {})}
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata, "spec": spec}


def member_of(name: str, given: dict[str, Any]) -> Member:
    serves = given.get("serves")
    return Member(
        name,
        labels=given.get("labels", {}),
        taints=tuple(given.get("taints", ())),
        region=given.get("region", ""),
        zones=tuple(given.get("zones", ())),
        provider=given.get("provider", ""),
        phase=given.get("phase", "Ready"),
        unschedulable=given.get("unschedulable", False),
        kinds=None if serves is None else {version: frozenset(kinds) for version, kinds in serves.items()},
        capacity=Capacity(given.get("pods"), given.get("cpu"), given.get("memory")),
    )


def policy_of(case: dict[str, Any]) -> PropagationPolicy:
    weights = [
        {"clusters": {"clusterNames": one.get("names", [])}, **{k: v for k, v in one.items() if k != "names"}}
        for one in case.get("weights", ())
    ]
    placement = {
        "clusterAffinity": case.get("affinity"),
        "clusterAffinities": case.get("groups"),
        "overflow": case.get("overflow", False),
        "clusterTolerations": case.get("tolerations"),
        "spreadConstraints": case.get("spread"),
        "replicaScheduling": {
            "mode": case.get("mode"),
            "preference": case.get("preference"),
            "weights": weights,
            "rebalance": case.get("rebalance", False),
        },
    }
    spec = {"placement": placement, "failover": case.get("failover", {})}
    return propagation_policy_of({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec})


def assignment_of(kind: str, cluster: str, given: Any) -> Assignment:
    if not isinstance(given, list):
        return Assignment(cluster, given)
    return Assignment(cluster, given[0], given[1]) if kind == "Job" else Assignment(cluster, given[0], None, given[1])


def situation_of(case: dict[str, Any]) -> Situation:
    kind = case.get("kind", "Deployment")
    displaced = [assignment_of(kind, name, given) for name, given in case.get("displaced", {}).items()]
    return Situation(
        held=tuple(assignment_of(kind, name, given) for name, given in case.get("held", {}).items()),
        limits=case.get("limits", {}),
        lost=frozenset(case.get("lost", ())),
        displaced=tuple(Displaced(one.cluster, one.replicas or 0, one.ordinal_start) for one in displaced),
        autoscaled=case.get("autoscaled", False),
        fresh=case.get("fresh", False),
        together=frozenset(case["together"]) if "together" in case else None,
        apart=frozenset(case.get("apart", ())),
        unready=frozenset(case.get("unready", ())),
    )


def shown(kind: str, found: Plan) -> dict[str, Any]:
    match kind:
        case "StatefulSet":
            return {one.cluster: [one.replicas, one.ordinal_start] for one in found.assignments}
        case "Job":
            return {one.cluster: [one.replicas, one.completions] for one in found.assignments}
        case _:
            return {one.cluster: one.replicas for one in found.assignments}


@pytest.mark.parametrize("case", SCENARIOS)
def test_placement(case: dict[str, Any]) -> None:
    kind = case.get("kind", "Deployment")
    members = [member_of(name, given) for name, given in case.get("members", {"A": {}, "B": {}, "C": {}}).items()]

    found = plan(template_of(case), members, policy_of(case), situation_of(case))

    got = shown(kind, found)
    if "expect" in case:
        assert got == case["expect"]
    if "sorted" in case:
        assert sorted(got.values(), reverse=True) == case["sorted"]
    if "sorted_size" in case:
        assert len(got) == case["sorted_size"]
    assert got.items() >= case.get("includes", {}).items()
    assert all(got[name] >= least for name, least in case.get("at_least", {}).items())
    assert found.unplaced == case.get("unplaced", 0)
    assert found.fault == case.get("fault", "")
    assert {one.cluster: one.reason for one in found.evictions} == case.get("evictions", {})
    if kind == "Deployment" and "displaced" in case and case.get("lost"):
        assert {one.cluster: one.replicas for one in found.displaced} == case["displaced"]
    if "passed_over" in case:
        assert found.passed_over == case["passed_over"]
    assert {one.cluster: one.why for one in found.assignments}.items() >= case.get("why", {}).items()

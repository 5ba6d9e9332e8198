"""Autoscalers and quotas of a federation: parts of clusters that are the whole together."""

import dataclasses
import random
from typing import Any

import pytest

from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity
from federation.placement.affinity import Affinity
from federation.placement.aggregate import Reported, aggregate
from federation.placement.members import Member
from federation.placement.plan import plan
from federation.placement.plans import Assignment, Plan, Situation
from federation.placement.policies import DEFAULT_POLICY, DUPLICATED, Division, PropagationPolicy, Weight
from federation.placement.render import render

QUOTAS = dataclasses.replace(DEFAULT_POLICY, name="quotas", namespace="shop")


def autoscaler(most: int, least: int | None = None) -> Object:
    spec: dict[str, Any] = {
        "maxReplicas": most,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
    }
    if least is not None:
        spec["minReplicas"] = least
    metadata = {"name": "web", "namespace": "shop"}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


def quota(**hard: str) -> Object:
    named = {name.replace("__", "/").replace("_", "."): amount for name, amount in hard.items()}
    metadata = {"name": "all", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": named}}


def members(*names: str) -> list[Member]:
    return [Member(name) for name in names]


def weighted(**weights: int) -> PropagationPolicy:
    found = tuple(Weight(Affinity(names=frozenset([name])), weight) for name, weight in weights.items())
    return dataclasses.replace(QUOTAS, division=Division(weights=found))


def by_cluster(found: Plan) -> dict[str, Assignment]:
    return {one.cluster: one for one in found.assignments}


def test_an_autoscaler_is_divided_and_each_part_runs_something() -> None:
    found = by_cluster(plan(autoscaler(10, 2), members("a", "b", "c")))
    assert sorted(one.replicas or 0 for one in found.values()) == [3, 3, 4]
    assert all((one.minimum or 0) >= 1 for one in found.values())
    one = found["a"]
    spec = render(autoscaler(10, 2), one)["spec"]
    assert (spec["maxReplicas"], spec["minReplicas"]) == (one.replicas, one.minimum)


def test_who_could_not_run_one_replica_gets_no_autoscaler() -> None:
    found = plan(autoscaler(2), members("a", "b", "c"))
    assert [one.replicas for one in found.assignments] == [1, 1]
    assert "with other clusters" in next(iter(found.passed_over.values()))


def test_an_autoscaler_may_scale_to_nothing_when_it_says_so() -> None:
    found = plan(autoscaler(6, 0), members("a", "b"))
    assert [(one.replicas, one.minimum) for one in found.assignments] == [(3, 0), (3, 0)]


def test_parts_follow_weights() -> None:
    found = by_cluster(plan(autoscaler(12, 6), members("a", "b"), weighted(a=2, b=1)))
    assert (found["a"].replicas, found["a"].minimum) == (8, 4)
    assert (found["b"].replicas, found["b"].minimum) == (4, 2)


def test_duplicated_autoscalers_stay_whole() -> None:
    policy = dataclasses.replace(QUOTAS, division=Division(mode=DUPLICATED))
    found = plan(autoscaler(10, 2), members("a", "b"), policy)
    assert [(one.replicas, one.minimum) for one in found.assignments] == [(None, None)] * 2
    assert render(autoscaler(10, 2), found.assignments[0])["spec"]["maxReplicas"] == 10


def test_others_share_the_whole_when_a_member_is_lost() -> None:
    known = [Member("a"), Member("b"), Member("c", phase="Unreachable")]
    held = plan(autoscaler(9, 3), members("a", "b", "c")).assignments
    found = by_cluster(plan(autoscaler(9, 3), known, situation=Situation(held, lost=frozenset(["c"]))))
    assert (found["a"].replicas or 0) + (found["b"].replicas or 0) == 9


def test_a_quota_is_copied_without_a_policy_and_divided_with_one() -> None:
    whole = quota(requests_cpu="7", requests_memory="10Gi", pods="11")
    assert all(not one.hard for one in plan(whole, members("a", "b")).assignments)
    found = by_cluster(plan(whole, members("a", "b"), QUOTAS))
    assert {dict(one.hard)["requests.cpu"] for one in found.values()} == {"3500m"}
    assert sorted(dict(one.hard)["pods"] for one in found.values()) == ["5", "6"]
    assert render(whole, found["a"])["spec"]["hard"] == dict(found["a"].hard)


def test_an_amount_that_cannot_be_read_is_left_to_the_members() -> None:
    found = plan(quota(pods="many"), members("a", "b"), QUOTAS)
    assert [dict(one.hard) for one in found.assignments] == [{"pods": "many"}] * 2


def test_a_quotas_status_is_what_all_allow_and_use() -> None:
    reports = [
        Reported("a", {"hard": {"pods": "5", "requests.cpu": "1500m"}, "used": {"pods": "2", "requests.cpu": "250m"}}),
        Reported("b", {"hard": {"pods": "6", "requests.cpu": "2"}, "used": {"pods": "0"}}),
        Reported("c", None),
    ]
    status = aggregate(quota(pods="11"), reports)
    assert status == {"hard": {"pods": "11", "requests.cpu": "3500m"}, "used": {"pods": "2", "requests.cpu": "250m"}}


@pytest.mark.parametrize("seed", range(200))
def test_parts_are_the_whole_together(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"m{n}" for n in range(rng.randint(1, 9))]
    weights = {name: rng.randint(0, 5) for name in names}
    policy = weighted(**weights)
    amounts = {
        "requests_cpu": f"{rng.randint(0, 99_999)}m",
        "pods": str(rng.randint(0, 500)),
        "limits_memory": f"{rng.randint(1, 10**7)}Ki",
    }
    hard = [dict(one.hard) for one in plan(quota(**amounts), members(*names), policy).assignments]
    for resource, amount in quota(**amounts)["spec"]["hard"].items():
        assert sum(Quantity.parse(one[resource]).nanos for one in hard) == Quantity.parse(amount).nanos
    most, least = rng.randint(1, 60), rng.randint(0, 20)
    scaled = plan(autoscaler(most, least), members(*names), policy).assignments
    assert sum(one.replicas or 0 for one in scaled) == most
    assert all(0 <= (one.minimum or 0) <= (one.replicas or 0) for one in scaled)

"""Which policy applies, what the planner reads of members and policies, and what it makes of broken ones."""

from typing import Any

import pytest

from federation.placement.members import Capacity, Demand, Member, member_of
from federation.placement.plan import Assignment, Situation, plan
from federation.placement.policies import DEFAULT_POLICY, policy_for, propagation_policy_of

WEB: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
    "spec": {"replicas": 3},
}
ALL: dict[str, Any] = {}
LABELLED = {"labelSelector": {"matchLabels": {"app": "web"}}}
NAMED = {"name": "web"}


def policy(
    name: str, selector: dict[str, Any], namespace: str = "shop", priority: int = 0, day: int = 1
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": f"2026-01-{day:02d}T00:00:00Z"}
    selectors = [{"apiVersion": "apps/v1", "kind": "Deployment", **selector}]
    return {
        "kind": "PropagationPolicy",
        "metadata": metadata,
        "spec": {"resourceSelectors": selectors, "priority": priority},
    }


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (policy("z", ALL, priority=1), policy("a", NAMED)),
        (policy("z", ALL, namespace="", priority=1), policy("a", NAMED)),
        (policy("z", ALL), policy("a", NAMED, namespace="")),
        (policy("z", NAMED), policy("a", LABELLED)),
        (policy("z", LABELLED), policy("a", ALL)),
        (policy("z", ALL, day=1), policy("a", ALL, day=2)),
        (policy("a", ALL), policy("z", ALL)),
    ],
    ids=["priority", "priority over scope", "scope over specificity", "name", "labels", "age", "alphabet"],
)
def test_of_two_policies_one_wins_in_either_order(winner: dict[str, Any], loser: dict[str, Any]) -> None:
    both = [propagation_policy_of(winner), propagation_policy_of(loser)]

    assert policy_for(WEB, both) == policy_for(WEB, both[::-1]) == both[0]


def test_policies_that_mean_something_else_do_not_apply() -> None:
    others = [
        policy("other-namespace", ALL, namespace="bank"),
        policy("other-name", {"name": "api"}),
        policy("other-kind", {"kind": "StatefulSet"}),
        policy("other-namespace-meant", {"namespace": "bank"}, namespace=""),
    ]

    assert policy_for(WEB, map(propagation_policy_of, others)) is DEFAULT_POLICY
    any_version = propagation_policy_of(policy("old-version", {"apiVersion": "apps/v1beta2"}))
    assert policy_for(WEB, [any_version]) is any_version


def test_a_policy_that_cannot_be_understood_changes_nothing() -> None:
    broken = policy("broken", ALL)
    expression = {"key": "a", "operator": "Near", "values": ["b"]}
    broken["spec"]["placement"] = {"clusterAffinity": {"labelSelector": {"matchExpressions": [expression]}}}
    held = Situation(held=(Assignment("eu", 3),))

    found = plan(WEB, [Member("eu"), Member("us")], propagation_policy_of(broken), held)

    assert found.assignments == held.held
    assert found.fault == 'PropagationPolicy shop/broken cannot be used: "Near" is not a valid label selector operator'


def test_members_are_read_from_their_cluster_objects() -> None:
    status = {
        "phase": "Ready",
        "region": "eu-1",
        "zones": ["a", "b"],
        "resources": {
            "allocatable": {"cpu": "4", "memory": "8Gi"},
            "requested": {"cpu": "1500m", "memory": "2Gi"},
            "pods": 90,
        },
        "apis": [{"groupVersion": "apps/v1", "kinds": ["Deployment"]}, {"groupVersion": "v1"}],
    }
    spec = {"region": "eu-2", "unschedulable": True, "taints": [{"key": "a", "effect": "NoSchedule"}]}

    member = member_of({"metadata": {"name": "eu", "labels": {"x": "y"}}, "spec": spec, "status": status})

    assert (member.region, member.zones, member.ready, member.unschedulable) == ("eu-2", ("a", "b"), True, True)
    assert member.capacity == Capacity(90, 2500, 6 * 2**30)
    assert member.capacity.room(Demand(cpu=1000)) == 2
    assert member.less(1, Demand(cpu=1000)).capacity == Capacity(89, 1500, 6 * 2**30)
    assert member.serves("apps/v1", "Deployment")
    assert member.serves("v1", "Anything")
    assert not member.serves("apps/v1", "DaemonSet")


def test_members_of_whom_nothing_is_known_take_anything_once_they_are_ready() -> None:
    unknown = member_of({"metadata": {"name": "new"}, "spec": {}})

    assert (unknown.phase, unknown.capacity.room(Demand(1, 1)), unknown.serves("v1", "Pod")) == ("Pending", None, True)
    leaving = member_of({"metadata": {"name": "x", "deletionTimestamp": "now"}, "status": {"phase": "Ready"}})
    assert not leaving.ready

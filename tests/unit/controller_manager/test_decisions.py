"""The pure decisions of the smaller controllers."""

import datetime
from typing import Any

import pytest

from cluster.api import resources
from cluster.client.expectations import Expectations
from cluster.controller_manager import job_status
from cluster.controller_manager.cluster_role_aggregation import gathered_rules
from cluster.controller_manager.disruption import budget_status
from cluster.controller_manager.endpoint_slice import MAX_ENDPOINTS, plan_slices
from cluster.controller_manager.endpoints import plan_subsets
from cluster.controller_manager.node_ipam import RangeExhausted, Ranges
from cluster.controller_manager.node_lifecycle import taints_for
from cluster.controller_manager.owner_graph import OwnerGraph
from cluster.controller_manager.ownership import plan_claims
from cluster.controller_manager.pods import in_order_of_deletion
from cluster.controller_manager.replica_set import plan_replicas
from cluster.controller_manager.service_endpoints import backends_of
from cluster.controller_manager.stateful_set import Create, Step, plan_step
from cluster.controller_manager.taint_eviction import seconds_left
from cluster.controller_manager.template_hash import same_template, template_hash
from cluster.machinery.labels import Selector

NOW = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
Obj = dict[str, Any]


def pod(name: str, *, ready: bool = True, **extra: Any) -> Obj:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": f"u-{name}", **extra.pop("metadata", {})},
        "spec": {"nodeName": "n1", "containers": [], **extra.pop("spec", {})},
        "status": {
            "phase": "Running",
            "podIP": extra.pop("ip", "10.0.0.1"),
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "lastTransitionTime": "2026-01-01T11:00:00Z",
                }
            ],
            **extra,
        },
    }


# --- ReplicaSets -----------------------------------------------------------------------------------------------


def test_missing_pods_are_created_at_most_a_burst_at_once() -> None:
    assert plan_replicas(3, [pod("a")]).create == 2
    assert plan_replicas(10_000, []).create == 500


def test_the_pod_that_is_missed_least_goes_first() -> None:
    unbound = pod("unbound", spec={"nodeName": ""}, phase="Pending")
    unready = pod("unready", ready=False)
    cheap = pod("cheap", metadata={"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}})
    fine = pod("fine")

    order = [p["metadata"]["name"] for p in in_order_of_deletion([fine, cheap, unready, unbound])]

    assert order == ["unbound", "unready", "cheap", "fine"]


def test_orphans_are_adopted_strays_released_and_others_left_alone() -> None:
    owner = {"metadata": {"uid": "me", "name": "rs"}}

    def owned(name: str, uid: str, app: str) -> Obj:
        references = [{"uid": uid, "controller": True, "kind": "ReplicaSet", "name": "x"}] if uid else []
        return pod(name, metadata={"labels": {"app": app}, "ownerReferences": references})

    mine, stray, orphan, theirs = (
        owned("mine", "me", "web"),
        owned("stray", "me", "db"),
        owned("orphan", "", "web"),
        owned("theirs", "other", "web"),
    )

    claims = plan_claims(owner, Selector.from_labels({"app": "web"}), [mine, stray, orphan, theirs])

    assert (claims.kept, claims.adopt, claims.release) == ((mine,), (orphan,), (stray,))


def test_a_late_cache_does_not_make_the_same_pods_twice() -> None:
    now = [0.0]
    expectations = Expectations(lambda: now[0])
    expectations.expect("rs", creates=2)
    expectations.created("rs")
    assert not expectations.met("rs")
    expectations.created("rs")
    assert expectations.met("rs")

    expectations.expect("rs", deletes={"u1"})
    expectations.deleted("rs", "u1")
    expectations.deleted("rs", "u1")
    assert expectations.met("rs")

    expectations.expect("rs", creates=1)
    now[0] = 301.0
    assert expectations.met("rs"), "an event that never comes must not stop the controller for ever"


def test_templates_that_differ_in_nothing_but_empty_fields_are_the_same() -> None:
    one: Obj = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}
    other: Obj = {
        "metadata": {"labels": {"a": "b", "pod-template-hash": "x"}, "creationTimestamp": None},
        "spec": {"containers": [{"name": "c", "resources": {}}]},
    }

    assert same_template(one, other)
    assert template_hash(one) == template_hash(other) != template_hash(one, collisions=1)


# --- StatefulSets ----------------------------------------------------------------------------------------------


def stateful_set(**spec: Any) -> Obj:
    return {"metadata": {"name": "db", "namespace": "ns"}, "spec": {"replicas": 3, **spec}}


def member(ordinal: int, revision: str = "v1", *, ready: bool = True) -> Obj:
    return pod(f"db-{ordinal}", ready=ready, metadata={"labels": {"controller-revision-hash": revision}})


def test_members_come_one_after_the_other() -> None:
    assert plan_step(stateful_set(), {}, "v1", "v1", NOW) == Step(create=(Create(0, "v1"),))
    assert plan_step(stateful_set(), {0: member(0, ready=False)}, "v1", "v1", NOW) == Step()
    assert plan_step(stateful_set(), {0: member(0)}, "v1", "v1", NOW) == Step(create=(Create(1, "v1"),))


def test_parallel_members_come_at_once() -> None:
    step = plan_step(stateful_set(podManagementPolicy="Parallel"), {}, "v1", "v1", NOW)

    assert [wish.ordinal for wish in step.create] == [0, 1, 2]


def test_the_highest_member_goes_first() -> None:
    pods = {i: member(i) for i in range(5)}

    assert plan_step(stateful_set(), pods, "v1", "v1", NOW) == Step(delete=(pods[4],))


def test_an_update_starts_at_the_top_and_waits_for_each_member() -> None:
    pods = {i: member(i) for i in range(3)}
    assert plan_step(stateful_set(), pods, "v1", "v2", NOW).delete == (pods[2],)

    pods[2] = member(2, "v2", ready=False)
    assert plan_step(stateful_set(), pods, "v1", "v2", NOW) == Step()

    pods[2] = member(2, "v2")
    assert plan_step(stateful_set(), pods, "v1", "v2", NOW).delete == (pods[1],)


def test_a_partition_keeps_the_lower_members_as_they_are() -> None:
    owner = stateful_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    pods = {0: member(0), 1: member(1), 2: member(2, "v2")}

    assert plan_step(owner, pods, "v1", "v2", NOW) == Step()
    del pods[1]
    assert plan_step(owner, pods, "v1", "v2", NOW).create == (Create(1, "v1"),)


# --- Services --------------------------------------------------------------------------------------------------

SERVICE: Obj = {
    "metadata": {"name": "web", "namespace": "ns", "uid": "s", "labels": {"team": "a"}},
    "spec": {"selector": {"app": "web"}, "clusterIP": "10.96.0.7", "ports": [{"port": 80, "targetPort": "http"}]},
}


def web(number: int, *, ready: bool = True, port: int = 8080) -> Obj:
    containers = [{"ports": [{"name": "http", "containerPort": port}]}]
    return pod(
        f"web-{number}", ready=ready, ip=f"10.0.{number // 250}.{number % 250 + 1}", spec={"containers": containers}
    )


def test_named_ports_are_looked_up_in_each_pod_and_unready_pods_are_told_apart() -> None:
    backends = backends_of(SERVICE, [web(1), web(2, ready=False)], "IPv4", {"n1": "zone-a"})

    plan = plan_slices(SERVICE, backends, [], "IPv4")

    (made,) = plan.create
    assert made["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
    assert [e["conditions"]["ready"] for e in made["endpoints"]] == [True, False]
    assert made["endpoints"][0]["zone"] == "zone-a"
    assert made["metadata"]["labels"]["team"] == "a"


def test_slices_hold_a_hundred_and_a_change_touches_only_its_own() -> None:
    pods = [web(i) for i in range(150)]
    slices = list(plan_slices(SERVICE, backends_of(SERVICE, pods, "IPv4", {}), [], "IPv4").create)
    assert sorted(len(s["endpoints"]) for s in slices) == [50, MAX_ENDPOINTS]
    for number, made in enumerate(slices):
        made["metadata"]["name"] = f"web-{number}"

    assert (
        plan_slices(SERVICE, backends_of(SERVICE, pods, "IPv4", {}), slices, "IPv4")
        == type(plan_slices(SERVICE, [], [], "IPv4"))()
    )
    pods[3] = web(3, ready=False)
    plan = plan_slices(SERVICE, backends_of(SERVICE, pods, "IPv4", {}), slices, "IPv4")

    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)


def test_a_service_without_pods_has_one_empty_slice() -> None:
    plan = plan_slices(SERVICE, [], [], "IPv4")

    assert [s["endpoints"] for s in plan.create] == [[]]


def test_endpoints_group_by_port_and_separate_the_unready() -> None:
    subsets = plan_subsets(backends_of(SERVICE, [web(1), web(2, ready=False), web(3, port=9090)], "IPv4", {}))

    assert [s["ports"][0]["port"] for s in subsets] == [8080, 9090]
    assert [a["ip"] for a in subsets[0]["notReadyAddresses"]] == ["10.0.0.3"]


# --- Nodes -----------------------------------------------------------------------------------------------------


def node(ready: str, taints: list[Obj] | None = None) -> Obj:
    return {
        "metadata": {"name": "n1"},
        "spec": {"taints": taints or []},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.mark.parametrize(
    ("ready", "execute", "expected"),
    [
        ("True", True, []),
        ("Unknown", False, [("node.kubernetes.io/unreachable", "NoSchedule")]),
        (
            "False",
            True,
            [("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/not-ready", "NoSchedule")],
        ),
    ],
)
def test_conditions_become_taints(ready: str, execute: bool, expected: list[tuple[str, str]]) -> None:
    taints = taints_for(node(ready), execute=execute, now=NOW)

    assert [(t["key"], t["effect"]) for t in taints] == expected


def test_a_node_that_is_well_again_loses_our_taints_and_keeps_others() -> None:
    theirs = {"key": "gpu", "effect": "NoExecute"}
    ours = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}

    assert taints_for(node("True", [theirs, ours]), execute=True, now=NOW) == [theirs]


def test_a_node_that_has_not_reported_yet_is_not_emptied() -> None:
    fresh: Obj = {"metadata": {"name": "n1"}, "spec": {}, "status": {}}

    assert taints_for(fresh, execute=True, now=NOW) == []


def test_a_pod_stays_as_long_as_it_tolerates() -> None:
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T11:59:00Z"}
    patient = pod("p", spec={"tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 300}]})
    stoic = pod("p", spec={"tolerations": [{"operator": "Exists"}]})

    assert seconds_left(pod("p"), [taint], NOW) == 0
    assert seconds_left(patient, [taint], NOW) == 240
    assert seconds_left(stoic, [taint], NOW) is None
    assert seconds_left(pod("p"), [], NOW) is None


def test_each_node_gets_a_range_of_its_own_until_none_is_left() -> None:
    ranges = Ranges("10.244.0.0/22", 24)
    ranges.occupy("old", ["10.244.1.0/24"])

    assert [ranges.allocate(n) for n in "abc"] == ["10.244.0.0/24", "10.244.2.0/24", "10.244.3.0/24"]
    with pytest.raises(RangeExhausted, match="larger --cluster-cidr"):
        ranges.allocate("d")
    ranges.release("b")
    assert ranges.allocate("d") == "10.244.2.0/24"


# --- the rest --------------------------------------------------------------------------------------------------


def test_dependents_of_an_owner_that_goes_are_named() -> None:
    graph = OwnerGraph()
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs"}
    graph.put(resources.REPLICA_SETS, {"metadata": {"name": "rs", "namespace": "ns", "uid": "rs"}})
    graph.put(resources.PODS, pod("a", metadata={"ownerReferences": [reference]}))

    dependents, owners = graph.remove("rs")
    assert (dependents, owners) == (("u-a",), ())

    graph.put(resources.PODS, pod("a"))
    assert graph.dependents("rs") == []


def test_aggregated_rules_come_from_all_that_match_and_only_once() -> None:
    rule = {"verbs": ["get"], "resources": ["pods"]}

    def role(name: str, rules: list[Obj], labels: Obj) -> Obj:
        return {"metadata": {"name": name, "labels": labels}, "rules": rules}

    view = {
        "metadata": {"name": "view"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]},
    }

    found = gathered_rules(
        view, [role("b", [rule], {"to-view": "true"}), role("a", [rule], {"to-view": "true"}), role("c", [{}], {})]
    )

    assert found == [rule]


@pytest.mark.parametrize(
    ("spec", "healthy", "allowed"),
    [
        ({"minAvailable": 2}, 3, 1),
        ({"minAvailable": "50%"}, 3, 1),
        ({"maxUnavailable": 1}, 3, 1),
        ({"maxUnavailable": 0}, 3, 0),
        ({"minAvailable": 5}, 3, 0),
    ],
)
def test_a_budget_allows_what_is_above_the_minimum(spec: Obj, healthy: int, allowed: int) -> None:
    budget = {"metadata": {"name": "b", "generation": 1}, "spec": spec}

    status = budget_status(budget, [pod(f"p{i}") for i in range(healthy)], healthy, NOW)

    assert status["disruptionsAllowed"] == allowed


@pytest.mark.parametrize("text", ["", "0", "0,1", "0-2", "0-2,5", "1,2,7-9"])
def test_completed_indexes_survive_the_round_trip(text: str) -> None:
    assert job_status.format_indexes(job_status.parse_indexes(text)) == text


def test_a_job_ends_by_success_by_failures_or_by_time() -> None:
    job: Obj = {"metadata": {}, "spec": {"completions": 2, "backoffLimit": 1}, "status": {}}
    assert job_status.ending_of(job, 1, 0, 1, NOW) is None
    done = job_status.ending_of(job, 2, 0, 0, NOW)
    failed = job_status.ending_of(job, 1, 2, 0, NOW)
    job["spec"]["activeDeadlineSeconds"] = 60
    job["status"]["startTime"] = "2026-01-01T11:00:00Z"
    late = job_status.ending_of(job, 1, 0, 1, NOW)

    assert [e and e.reason for e in (done, failed, late)] == [
        "CompletionsReached",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
    ]

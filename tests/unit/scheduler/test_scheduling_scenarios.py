"""The folder tests/scenarios/scheduler: Nodes and Pods in, a Node or a message out."""

import pathlib
import random
from typing import Any

import pytest
import yaml

from cluster.scheduler.cluster_state import ClusterState
from cluster.scheduler.cycle import Cycle, Unschedulable
from cluster.scheduler.pod_info import PodInfo

ROOT = pathlib.Path(__file__).parents[2] / "scenarios" / "scheduler"
SCENARIOS = [case for path in sorted(ROOT.glob("*.yaml")) for case in yaml.safe_load(path.read_text())]
_serial = iter(range(100_000))


def node_of(given: dict[str, Any]) -> dict[str, Any]:
    amounts = {"cpu": given.get("cpu", "4"), "memory": given.get("memory", "8Gi"), "pods": str(given.get("pods", 110))}
    return {
        "metadata": {
            "name": given["name"],
            "labels": {"kubernetes.io/hostname": given["name"], **given.get("labels", {})},
        },
        "spec": {"taints": given.get("taints", []), "unschedulable": given.get("unschedulable", False)},
        "status": {
            "allocatable": amounts,
            "images": [{"names": [name], "sizeBytes": size} for name, size in given.get("images", {}).items()],
        },
    }


def pod_of(given: dict[str, Any]) -> PodInfo:
    number = next(_serial)
    requests = {key: given[key] for key in ("cpu", "memory") if key in given}
    container: dict[str, Any] = {
        "name": "c",
        "image": given.get("image", "web:1"),
        "resources": {"requests": requests},
    }
    if "hostPort" in given:
        container["ports"] = [{"containerPort": given["hostPort"], "hostPort": given["hostPort"]}]
    owner = [{"uid": given.get("owner"), "kind": "ReplicaSet", "name": "rs", "controller": True}]
    return PodInfo.of(
        {
            "metadata": {
                "name": f"p{number}",
                "namespace": "default",
                "uid": f"u{number}",
                "labels": given.get("labels", {}),
                "ownerReferences": owner if "owner" in given else [],
            },
            "spec": {
                "containers": [container],
                "priority": given.get("priority", 0),
                **({"nodeName": given["node"]} if "node" in given else {}),
                **given.get("spec", {}),
            },
        }
    )


def state_of(case: dict[str, Any]) -> ClusterState:
    state = ClusterState()
    for node in case["nodes"]:
        state.set_node(node_of(node))
    for running in case.get("running", []):
        state.set_pod(pod_of(running))
    return state


@pytest.mark.parametrize("case", SCENARIOS, ids=lambda case: case["name"].replace(" ", "_"))
def test_scenario(case: dict[str, Any]) -> None:
    expect = case["expect"]
    cycle = Cycle(state_of(case), random.Random(1))
    pod = pod_of(case["pod"])

    if "message" in expect:
        with pytest.raises(Unschedulable) as refused:
            cycle.choose(pod)
        assert str(refused.value) == expect["message"]
    else:
        assert {cycle.choose(pod) for _ in range(10)} <= set(expect["nodes"])


def test_assumed_room_is_not_given_twice_and_comes_back_when_binding_fails() -> None:
    state = state_of({"nodes": [{"name": "a", "cpu": "2"}]})
    cycle = Cycle(state)
    first, second = pod_of({"cpu": "2"}), pod_of({"cpu": "2"})

    state.assume(first, cycle.choose(first))
    with pytest.raises(Unschedulable, match="Insufficient cpu"):
        cycle.choose(second)
    state.forget(first.uid)

    assert cycle.choose(second) == "a"


def test_a_hundred_replicas_spread_evenly_over_ten_nodes() -> None:
    state = state_of({"nodes": [{"name": f"n{i}"} for i in range(10)]})
    cycle = Cycle(state)
    for _ in range(100):
        pod = pod_of({"owner": "rs", "cpu": "10m"})
        state.assume(pod, cycle.choose(pod))

    assert {len(info.pods) for info in state.nodes.values()} == {10}


def test_kept_verdicts_say_the_same_as_fresh_ones() -> None:
    """The signature cache is only an optimisation: whatever changes, it agrees with a cycle that remembers nothing."""
    dice = random.Random(7)
    state = state_of({"nodes": [{"name": f"n{i}", "cpu": str(dice.choice([1, 2, 4]))} for i in range(8)]})
    cycle = Cycle(state)
    placed: list[PodInfo] = []
    for step in range(300):
        pod = pod_of({"cpu": f"{dice.choice([100, 300, 700])}m"})
        kept = cycle._verdict(pod)
        fresh = Cycle(state)._verdict(pod)
        assert kept.scores == fresh.scores
        assert kept.refusals == fresh.refusals
        if kept.scores:
            state.assume(pod, dice.choice(sorted(kept.scores)))
            placed.append(pod)
        if placed and dice.random() < 0.4:
            state.remove_pod(placed.pop(dice.randrange(len(placed))).uid)
        if step % 25 == 0:
            state.set_node(node_of({"name": f"n{dice.randrange(9)}", "cpu": "2"}))
        if step % 40 == 39:
            state.remove_node(f"n{dice.randrange(9)}")

"""Who has to go when the node is short of something, and what is said of it."""

from typing import Any

import pytest

from cluster.kubelet.eviction import (
    Candidate,
    Shortage,
    eviction_message,
    pressure_fault,
    shortages,
    victims,
)
from cluster.kubelet.node_status import Pressure
from cluster.kubelet.settings import KubeletSettings

MI = 1 << 20


def pod(name: str, request: str = "", priority: int = 0, **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"memory": request}} if request else {}
    container = {"name": "main", "resources": resources}
    metadata = {"name": name, "namespace": "ns", "uid": name}
    return {"metadata": metadata, "spec": {"priority": priority, "containers": [container], **spec}}


def candidate(name: str, used: int, request: str = "", priority: int = 0) -> Candidate:
    return Candidate(pod(name, request, priority), used * MI, {"main": used * MI})


def test_those_above_their_request_go_first_then_the_unimportant_then_the_greedy() -> None:
    order = victims(
        [
            candidate("within", 100, "200Mi"),
            candidate("important", 900, "100Mi", priority=1000),
            candidate("greedy", 300, "100Mi"),
            candidate("small", 10),
            candidate("critical", 5000, priority=2_000_000_000),
        ],
        "memory",
    )
    assert [c.pod["metadata"]["name"] for c in order] == ["greedy", "small", "important", "within"]


def test_the_message_says_who_took_how_much() -> None:
    text = eviction_message(Shortage("memory", 52 * MI, 100 * MI), candidate("p", 30, "10Mi"))
    assert text == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
        "Container main was using 30Mi, request is 10Mi, has larger consumption of memory. "
    )


def test_what_is_short_is_found() -> None:
    settings = KubeletSettings(node_name="n", eviction_memory="100Mi", eviction_disk="10%")
    plenty = Pressure(memory_available=200 * MI, disk_available=50, disk_capacity=100, pids_used=1, pids_max=10)
    assert shortages(plenty, settings, 1000 * MI) == []
    short = Pressure(memory_available=99 * MI, disk_available=9, disk_capacity=100, pids_used=1, pids_max=10)
    assert [s.resource for s in shortages(short, settings, 1000 * MI)] == ["memory", "ephemeral-storage"]


@pytest.mark.parametrize(
    ("made", "short", "refused"),
    [
        (pod("p"), ["memory"], "The node had condition: [MemoryPressure]. "),
        (pod("p", "1Mi"), ["memory"], ""),
        (pod("p", tolerations=[{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]), ["memory"], ""),
        (pod("p", "1Mi"), ["ephemeral-storage"], "The node had condition: [DiskPressure]. "),
        (pod("p", priority=2_000_000_000), ["memory", "ephemeral-storage"], ""),
        (pod("p"), [], ""),
    ],
)
def test_a_node_under_pressure_takes_only_some_pods(made: Any, short: list[str], refused: str) -> None:
    fault = pressure_fault(made, short)
    assert (fault[1] if fault else "") == refused

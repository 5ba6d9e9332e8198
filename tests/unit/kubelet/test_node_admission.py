"""Which pods a node refuses."""

from typing import Any

import pytest

from cluster.kubelet.node_admission import admission_fault
from cluster.machinery.objects import Object

ALLOCATABLE = {"cpu": 2000, "memory": 1 << 30, "pods": 10}
NODE: Object = {"metadata": {"name": "n1", "labels": {"disk": "ssd", "size": "5"}}, "spec": {}}


def pod(cpu: str = "100m", port: int = 0, **spec: Any) -> Object:
    container: Object = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    if port:
        container["ports"] = [{"containerPort": 80, "hostPort": port}]
    return {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [container], **spec}}


def reason(p: Object, others: tuple[Object, ...] = (), node: Object = NODE, max_pods: int = 10) -> str:
    fault = admission_fault(p, others, node, ALLOCATABLE, max_pods)
    return fault[0] if fault else ""


def affinity(operator: str, *values: str, key: str = "disk") -> Object:
    expression = {"key": key, "operator": operator, "values": list(values)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def test_a_pod_that_fits_is_taken() -> None:
    assert reason(pod()) == ""


def test_what_is_used_counts() -> None:
    assert reason(pod("1500m"), (pod("600m"),)) == "OutOfcpu"
    assert reason(pod(), (pod(), pod()), max_pods=2) == "OutOfpods"


def test_a_critical_pod_is_taken_beyond_what_is_free() -> None:
    assert reason(pod("3", priority=2_000_000_000)) == ""


def test_two_pods_cannot_have_one_host_port() -> None:
    assert reason(pod(port=80), (pod(port=80),)) == "NodePorts"
    assert reason(pod(port=81), (pod(port=80),)) == ""


def test_the_node_selector_must_match() -> None:
    assert reason(pod(nodeSelector={"disk": "ssd"})) == ""
    assert reason(pod(nodeSelector={"disk": "hdd"})) == "NodeAffinity"


@pytest.mark.parametrize(
    ("given", "matches"),
    [(affinity("In", "ssd"), True), (affinity("NotIn", "ssd"), False), (affinity("Exists"), True),
     (affinity("DoesNotExist"), False), (affinity("Gt", "4", key="size"), True),
     (affinity("Lt", "4", key="size"), False)],
)  # fmt: skip
def test_required_affinity_is_checked(given: Object, matches: bool) -> None:
    assert (reason(pod(affinity=given)) == "") is matches


def test_no_execute_taints_need_a_toleration() -> None:
    tainted = {**NODE, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}, {"key": "s", "effect": "NoSchedule"}]}}
    assert reason(pod(), node=tainted) == "TaintToleration"
    assert reason(pod(tolerations=[{"key": "k", "operator": "Exists"}]), node=tainted) == ""

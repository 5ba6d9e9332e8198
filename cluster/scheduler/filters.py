"""
May this Pod run on this Node, and if not, why not.

Pure. Each filter gives upstream's reason, to the letter: people grep for them. A refusal is `final` when evicting
Pods from the Node would not change it. Source: kube-scheduler, framework/plugins/*.
"""

from collections.abc import Mapping
from typing import NamedTuple

from cluster.machinery.tolerations import first_untolerated
from cluster.scheduler.node_info import UNSCHEDULABLE_TAINT, NodeInfo
from cluster.scheduler.pod_info import PodInfo


class Refusal(NamedTuple):
    """Why a Node does not take a Pod. Several reasons come from one filter: too little cpu and memory."""

    plugin: str
    reasons: tuple[str, ...]
    final: bool


UNSCHEDULABLE = Refusal("NodeUnschedulable", ("node(s) were unschedulable",), True)
WRONG_NAME = Refusal("NodeName", ("node(s) didn't match the requested node name",), True)
TAINTED = Refusal("TaintToleration", ("node(s) had untolerated taint(s)",), True)
WRONG_LABELS = Refusal("NodeAffinity", ("node(s) didn't match Pod's node affinity/selector",), True)
PORT_TAKEN = Refusal("NodePorts", ("node(s) didn't have free ports for the requested pod ports",), False)
_TOO_MANY_PODS = "Too many pods"


def fits_labels(pod: PodInfo, name: str, labels: Mapping[str, str]) -> bool:
    """nodeSelector and the required node affinity."""
    if pod.node_selector and not pod.node_selector.items() <= labels.items():
        return False
    return pod.node_terms is None or any(term.matches(name, labels) for term in pod.node_terms)


def _fits_resources(pod: PodInfo, node: NodeInfo) -> Refusal | None:
    reasons = []
    final = False
    if len(node.pods) + 1 > node.max_pods:
        reasons.append(_TOO_MANY_PODS)
    allocatable, requested = node.allocatable, node.requested
    for name, wanted in pod.requests.items():
        if not wanted:
            continue
        has = allocatable.get(name, 0)
        if wanted > has - requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            final = final or wanted > has
    return Refusal("NodeResourcesFit", tuple(reasons), final) if reasons else None


def refusal(pod: PodInfo, node: NodeInfo) -> Refusal | None:
    """Why this Node does not take the Pod, looking at nothing else; None when it does. First fault wins."""
    if node.unschedulable and first_untolerated(pod.tolerations, (UNSCHEDULABLE_TAINT,), ("NoSchedule",)) is not None:
        return UNSCHEDULABLE
    if pod.node_name and pod.node_name != node.name:
        return WRONG_NAME
    if node.taints and first_untolerated(pod.tolerations, node.taints, ("NoSchedule", "NoExecute")) is not None:
        return TAINTED
    if (pod.node_selector or pod.node_terms is not None) and not fits_labels(pod, node.name, node.labels):
        return WRONG_LABELS
    if pod.ports and any(node.port_taken(port) for port in pod.ports):
        return PORT_TAKEN
    return _fits_resources(pod, node)

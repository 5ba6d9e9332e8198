"""
Whether this node takes a pod that was bound to it: the kubelet's own check, for races and for hand-made bindings.

Pure. Reasons and texts are upstream's (pkg/kubelet/lifecycle/predicate.go).
"""

from collections.abc import Mapping, Sequence

from cluster.kubelet.pods import is_critical, is_static
from cluster.kubelet.resources import pod_requests, total_requests
from cluster.machinery.objects import Object
from cluster.machinery.tolerations import first_untolerated

_UNTOLERATED = "Predicate TaintToleration failed"


def admission_fault(
    pod: Object, others: Sequence[Object], node: Object, allocatable: Mapping[str, int], max_pods: int
) -> tuple[str, str] | None:
    """
    Reason and message when the pod cannot run here, None when it can.

    Args:
        others: the pods that this node has admitted.
        node: the Node object, for labels and taints.
        allocatable: millicores and bytes.
    """
    if len(others) + 1 > max_pods:
        return (
            "OutOfpods",
            f"Node didn't have enough resource: pods, requested: 1, used: {len(others)}, capacity: {max_pods}",
        )
    used, wanted = total_requests(others), pod_requests(pod)
    if not is_critical(pod):
        for name in sorted(wanted):
            if not wanted[name]:
                continue
            if wanted[name] + used.get(name, 0) > allocatable.get(name, 0):
                text = (
                    f"Node didn't have enough resource: {name}, requested: {wanted[name]},"
                    f" used: {used.get(name, 0)}, capacity: {allocatable.get(name, 0)}"
                )
                return f"OutOf{name}", text
    labels = node["metadata"].get("labels") or {}
    if not matches_node(pod, labels, str(node["metadata"].get("name", ""))):
        return "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    if _has_port_conflict(pod, others):
        return "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    if not is_static(pod) and not _tolerates_execution(pod, node):
        return "TaintToleration", f"{_UNTOLERATED}: node(s) had untolerated taint(s)"
    return None


def matches_node(pod: Object, labels: Mapping[str, str], name: str) -> bool:
    """nodeSelector and the required node affinity."""
    selector = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(k) != v for k, v in selector.items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term(term, labels, name) for term in required.get("nodeSelectorTerms") or ())


def _term(term: Object, labels: Mapping[str, str], name: str) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    own = {"metadata.name": name}
    return all(_holds(e, labels) for e in expressions) and all(_holds(f, own) for f in fields)


def _holds(expression: Object, values: Mapping[str, str]) -> bool:
    value, wanted = values.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value is not None and value in wanted
        case "NotIn":
            return value is None or value not in wanted
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                left, right = int(value or ""), int(str(next(iter(wanted), "")))
            except ValueError:
                return False
            return left > right if expression["operator"] == "Gt" else left < right
        case _:
            return False


def _host_ports(pod: Object) -> set[tuple[str, int, str]]:
    return {
        (p.get("protocol") or "TCP", int(p["hostPort"]), p.get("hostIP") or "0.0.0.0")  # noqa: S104
        for c in pod["spec"].get("containers") or ()
        for p in c.get("ports") or ()
        if p.get("hostPort")
    }


def _has_port_conflict(pod: Object, others: Sequence[Object]) -> bool:
    wanted = _host_ports(pod)
    if not wanted:
        return False
    every = "0.0.0.0"  # noqa: S104
    for other in others:
        for protocol, port, ip in _host_ports(other):
            for mine in wanted:
                if mine[:2] == (protocol, port) and (ip == mine[2] or every in (ip, mine[2])):
                    return True
    return False


def _tolerates_execution(pod: Object, node: Object) -> bool:
    """NoSchedule is the scheduler's business, NoExecute is ours too."""
    tolerations, taints = pod["spec"].get("tolerations") or (), (node.get("spec") or {}).get("taints") or ()
    return first_untolerated(tolerations, taints, ("NoExecute",)) is None

"""
What controllers ask of a Pod, and how they make one from a template. Pure.
"""

import datetime
from collections.abc import Iterable

from cluster.machinery.objects import Object, copy_object
from cluster.machinery.timestamps import parse_time

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def condition(obj: Object, kind: str) -> Object | None:
    for entry in (obj.get("status") or {}).get("conditions") or ():
        if entry.get("type") == kind:
            found: Object = entry
            return found
    return None


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_terminal(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Neither over nor on its way out."""
    return not is_terminal(pod) and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: Object) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready.get("status") == "True"


def ready_since(pod: Object) -> datetime.datetime | None:
    ready = condition(pod, "Ready")
    if ready is None or ready.get("status") != "True" or not ready.get("lastTransitionTime"):
        return None
    return parse_time(ready["lastTransitionTime"])


def seconds_until_available(pod: Object, min_ready_seconds: int, now: datetime.datetime) -> float | None:
    """0 for an available Pod; None for one that is not ready at all."""
    if not is_ready(pod):
        return None
    if not min_ready_seconds:
        return 0.0
    since = ready_since(pod)
    if since is None:
        return None
    return max(min_ready_seconds - (now - since).total_seconds(), 0.0)


def is_available(pod: Object, min_ready_seconds: int, now: datetime.datetime) -> bool:
    return seconds_until_available(pod, min_ready_seconds, now) == 0.0


def restarts(pod: Object) -> int:
    return sum(int(s.get("restartCount") or 0) for s in (pod.get("status") or {}).get("containerStatuses") or ())


def in_order_of_deletion(pods: Iterable[Object]) -> list[Object]:
    """
    Those first that are missed least.

    Not bound, not running, not ready, cheap by their own word, crowded on one Node, ready only lately, often
    restarted, young. Source: pkg/controller/controller_utils.go, ActivePodsWithRanks.
    """
    pods = list(pods)
    on_node: dict[str, int] = {}
    for pod in pods:
        name = pod["spec"].get("nodeName") or ""
        on_node[name] = on_node.get(name, 0) + 1
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}

    def rank(pod: Object) -> tuple[object, ...]:
        node = pod["spec"].get("nodeName") or ""
        cost = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
        since = ready_since(pod)
        return (
            bool(node),
            phases.get(phase(pod), 2),
            is_ready(pod),
            int(cost) if cost.lstrip("-").isdigit() else 0,
            -on_node[node],
            -since.timestamp() if since is not None else 0.0,
            -restarts(pod),
            -_created(pod),
        )

    return sorted(pods, key=rank)


def _created(obj: Object) -> float:
    stamp = obj["metadata"].get("creationTimestamp")
    return parse_time(stamp).timestamp() if stamp else 0.0


def pod_from_template(template: Object, owner: Object, reference: Object, prefix: str = "") -> Object:
    """A Pod to create, with a name the server makes from the owner's."""
    metadata = template.get("metadata") or {}
    name = owner["metadata"]["name"]
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": owner["metadata"]["namespace"],
            "generateName": prefix or f"{name}-",
            "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": [reference],
            **({"finalizers": list(metadata["finalizers"])} if metadata.get("finalizers") else {}),
        },
        "spec": copy_object(template.get("spec") or {}),
    }
    return pod

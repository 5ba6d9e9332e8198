"""
What a Pod's status says while no Node takes it. Pure.
"""

import datetime

from cluster.machinery.objects import Object
from cluster.machinery.timestamps import format_time


def not_scheduled(pod: Object, message: str, nominated_node: str) -> Object | None:
    """The strategic merge patch for pods/status; None when the status says so already."""
    status = pod.get("status") or {}
    before: Object = next((c for c in status.get("conditions") or () if c.get("type") == "PodScheduled"), {})
    same = (
        before.get("status") == "False" and before.get("reason") == "Unschedulable" and before.get("message") == message
    )
    if same and (not nominated_node or status.get("nominatedNodeName") == nominated_node):
        return None
    now = format_time(datetime.datetime.now(datetime.UTC))
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastProbeTime": None,
        "lastTransitionTime": before.get("lastTransitionTime") if before.get("status") == "False" else now,
    }
    generation = pod["metadata"].get("generation")
    if generation:
        condition["observedGeneration"] = generation
    patch: Object = {"conditions": [condition]}
    if nominated_node:
        patch["nominatedNodeName"] = nominated_node
    return {"status": patch}

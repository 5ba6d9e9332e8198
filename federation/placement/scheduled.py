"""The condition Scheduled of a Placement: whether all of its object has found a place. Pure."""

from cluster.machinery.objects import Object

SCHEDULED = "Scheduled"
_NAMED = 5
"""Clusters that a message names."""
_MESSAGE = 32_768


def scheduled_condition(spec: Object, before: Object | None, now: str) -> Object:
    """
    From a Placement's spec.

    Args:
        before: the condition as it is; its time stays while its status does.
        now: RFC 3339.
    """
    reason, message = _judged(spec)
    status = "False" if reason in ("PlacementFault", "NoClusterFits", "ReplicasUnplaced") else "True"
    same = before is not None and before["status"] == status
    since = before["lastTransitionTime"] if same and before is not None and "lastTransitionTime" in before else now
    return {
        "type": SCHEDULED,
        "status": status,
        "reason": reason,
        "message": message[:_MESSAGE],
        "lastTransitionTime": since,
    }


def is_scheduled(spec: Object) -> bool:
    return bool(scheduled_condition(spec, None, "")["status"] == "True")


def _judged(spec: Object) -> tuple[str, str]:
    """(reason, message)"""
    clusters = [one["name"] for one in spec.get("clusters") or ()]
    passed = [f"{one['cluster']}: {one.get('why')}" for one in spec.get("passedOver") or ()]
    if spec.get("fault"):
        return "PlacementFault", f"nothing is changed: {spec['fault']}"
    if spec.get("unplaced"):
        return "ReplicasUnplaced", _with(f"{spec['unplaced']} replicas fit into no cluster", passed)
    if not clusters:
        if spec.get("tombstones"):
            return "Removing", f"it goes from {len(spec['tombstones'])} clusters"
        return "NoClusterFits", _with("no cluster may have it", passed)
    if spec.get("suspended"):
        return "Suspended", f"it has its place in {len(clusters)} clusters, where its policy lets nothing be written"
    named = ", ".join(clusters[:_NAMED]) + (", …" if len(clusters) > _NAMED else "")
    return "Placed", f"in {len(clusters)} clusters: {named}"


def _with(message: str, passed: list[str]) -> str:
    more = "; …" if len(passed) > _NAMED else ""
    return f"{message}: {'; '.join(passed[:_NAMED])}{more}" if passed else message

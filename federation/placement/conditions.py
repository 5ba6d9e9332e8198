"""Conditions of several clusters as one list: of every type the worst, with the names of the clusters. Pure."""

from collections.abc import Mapping, Sequence

from cluster.machinery.objects import Object

_BAD_WHEN_TRUE = ("Failure", "Failed", "Pressure", "Degraded", "Stalled", "Suspended", "Conflict", "Limited", "Error")
_DONE = "NewReplicaSetAvailable"
"""The reason of a Deployment's condition Progressing that says it no longer does."""
MESSAGE_LIMIT = 32_768


def merged(statuses: Mapping[str, Object | None]) -> list[Object]:
    """
    One condition a type, in the order in which the types are met. `statuses` are by cluster.

    A cluster that says nothing of a type counts as Unknown where the type is good news, and not at all where it is bad.
    """
    by_type: dict[str, dict[str, Object]] = {}
    for cluster in sorted(statuses):
        for condition in (statuses[cluster] or {}).get("conditions") or ():
            if isinstance(condition, dict) and isinstance(condition.get("type"), str):
                by_type.setdefault(condition["type"], {})[cluster] = condition
    return [_worst(kind, found, sorted(statuses)) for kind, found in by_type.items()]


def is_true(status: Object | None, kind: str) -> bool:
    """Whether a status has this condition, and it holds."""
    return any(
        one.get("type") == kind and one.get("status") == "True" for one in (status or {}).get("conditions") or ()
    )


def _worst(kind: str, found: Mapping[str, Object], clusters: Sequence[str]) -> Object:
    bad = kind.endswith(_BAD_WHEN_TRUE)
    order = ["True", "Unknown", "False"] if bad else ["False", "Unknown", "True"]
    silent = [cluster for cluster in clusters if cluster not in found] if not bad else []
    said = {cluster: condition.get("status") or "Unknown" for cluster, condition in found.items()}
    status = min(
        [*said.values(), *(["Unknown"] if silent else [])], key=lambda one: order.index(one) if one in order else 1
    )
    deciding = [cluster for cluster in sorted(found) if said[cluster] == status]
    # What still goes on is more telling than what is over.
    first = min(deciding, key=lambda cluster: found[cluster].get("reason") == _DONE) if deciding else ""
    result: Object = {"type": kind, "status": status}
    result["reason"] = (found[first].get("reason") if first else None) or "ClustersWithoutStatus"
    lines = [f"{cluster}: {found[cluster].get('message') or status}" for cluster in deciding]
    if status == "Unknown":
        lines += [f"{cluster}: says nothing of it yet" for cluster in silent]
    result["message"] = "; ".join(lines)[:MESSAGE_LIMIT]
    for field in ("lastUpdateTime", "lastTransitionTime", "lastProbeTime"):
        times = [found[cluster][field] for cluster in deciding or found if found[cluster].get(field)]
        if times:
            result[field] = max(times)
    return result

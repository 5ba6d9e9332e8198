"""
What a delete does to an object: gone at once, or marked and kept for finalizers or for its grace period.

Pure. Source: k8s.io/apiserver, pkg/registry/rest/delete.go and deletionFinalizersForGarbageCollection in
pkg/registry/generic/registry/store.go.
"""

from datetime import datetime, timedelta

from cluster.api.resources import Resource
from cluster.apiserver.registry.strategy import DeletePlan
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import conflict
from cluster.machinery.timestamps import format_time

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


def check_preconditions(resource: Resource, obj: Object, preconditions: Object) -> None:
    """Raises Conflict."""
    metadata = obj["metadata"]
    uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
    if uid is not None and uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({metadata['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(resource.group, resource.kind, metadata["name"], why)
    if version is not None and version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({metadata['resourceVersion']}). The object might have been modified"
        )
        raise conflict(resource.group, resource.kind, metadata["name"], why)


def finalizers_for(options: Object, present: list[str], default: str) -> list[str]:
    """The finalizers an object gets by a delete: garbage collection's two are added or taken away."""
    policy = options.get("propagationPolicy")
    orphan = options.get("orphanDependents")
    if policy is None and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    if policy is None:
        if ORPHAN in present:
            policy = "Orphan"
        elif FOREGROUND in present:
            policy = "Foreground"
        else:
            policy = default
    kept = [f for f in present if f not in (ORPHAN, FOREGROUND)]
    if policy == "Orphan":
        kept.append(ORPHAN)
    elif policy == "Foreground":
        kept.append(FOREGROUND)
    return kept


def mark(obj: Object, plan: DeletePlan, options: Object, default_policy: str, now: datetime) -> Object | None:
    """The object with its mark of deletion, or None when nothing keeps it and it may go at once."""
    marked = copy_object(obj)
    metadata = marked["metadata"]
    finalizers = finalizers_for(options, list(metadata.get("finalizers") or []), default_policy)
    if not finalizers and not plan.graceful:
        return None
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    grace = plan.grace_seconds if plan.graceful else 0
    if not metadata.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace or 0))
        if grace is not None:
            metadata["deletionGracePeriodSeconds"] = grace
        if metadata.get("generation"):
            metadata["generation"] += 1
    elif grace is not None and grace < metadata.get("deletionGracePeriodSeconds", 0):
        # Only shorter: who waits for the end may rely on it.
        metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
    return marked


def grace_is_over(obj: Object) -> bool:
    """Nothing but finalizers still keeps the object."""
    return not obj["metadata"].get("deletionGracePeriodSeconds")

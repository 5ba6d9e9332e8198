"""
What a Deployment says about its rollout: counts and the conditions Available, Progressing, ReplicaFailure.

Pure. `kubectl rollout status` reads the reasons, so they are upstream's.
Source: kube-controller-manager, pkg/controller/deployment/progress.go, sync.go.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.controller_manager.pods import condition
from cluster.controller_manager.rollout import is_complete, limits_of
from cluster.machinery.objects import Object
from cluster.machinery.timestamps import format_time, parse_time

NEW_AVAILABLE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"
NEW_CREATED, FOUND_NEW, UPDATED = "NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def desired_replicas(obj: Object) -> int:
    replicas = obj["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def counts(deployment: Object, new: Object | None, every: Sequence[Object]) -> Object:
    """The numbers of the status; zeros are left out."""

    def total(field: str, sets: Sequence[Object]) -> int:
        return sum(int((s.get("status") or {}).get(field) or 0) for s in sets)

    available = total("availableReplicas", every)
    spec_total = sum(desired_replicas(s) for s in every)
    found = {
        "replicas": total("replicas", every),
        "updatedReplicas": total("replicas", [new] if new is not None else []),
        "readyReplicas": total("readyReplicas", every),
        "availableReplicas": available,
        "unavailableReplicas": max(spec_total - available, 0),
    }
    status: Object = {name: count for name, count in found.items() if count}
    status["observedGeneration"] = deployment["metadata"].get("generation", 0)
    collisions = (deployment.get("status") or {}).get("collisionCount")
    if collisions is not None:
        status["collisionCount"] = collisions
    return status


def make_condition(
    before: Object | None, kind: str, status: str, reason: str, message: str, now: datetime.datetime
) -> Object:
    """A condition that keeps its transition time while its status stays, and its update time while nothing changes."""
    if before is not None and (before.get("status"), before.get("reason")) == (status, reason):
        return before
    stamp = format_time(now)
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": before["lastTransitionTime"]
        if before is not None and before.get("status") == status
        else stamp,
        "reason": reason,
        "message": message,
    }


def available_condition(deployment: Object, status: Mapping[str, Any], now: datetime.datetime) -> Object:
    desired = desired_replicas(deployment)
    minimum = desired - limits_of(deployment["spec"], desired).unavailable
    before = condition(deployment, "Available")
    if status.get("availableReplicas", 0) >= minimum:
        return make_condition(
            before, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now
        )
    return make_condition(
        before,
        "Available",
        "False",
        "MinimumReplicasUnavailable",
        "Deployment does not have minimum availability.",
        now,
    )


def progress_deadline(deployment: Object) -> int | None:
    """Seconds; None when the Deployment has no deadline."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or int(seconds) >= 2**31 - 1 else int(seconds)


def progressing_condition(
    deployment: Object, new: Object | None, status: Mapping[str, Any], now: datetime.datetime
) -> Object | None:
    """Where the rollout is. None removes the condition."""
    before = condition(deployment, "Progressing")
    if progress_deadline(deployment) is None:
        return None
    if before is not None and before.get("reason") == PAUSED:
        return before
    name = new["metadata"]["name"] if new is not None else ""
    subject = f'ReplicaSet "{name}"' if name else f'Deployment "{deployment["metadata"]["name"]}"'
    # With only the new one left there is nothing to progress with, whatever becomes of its Pods later.
    settled = before is not None and before.get("reason") == NEW_AVAILABLE
    same_counts = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and same_counts and _progressed(deployment, status) is False:
        return before
    if is_complete(desired_replicas(deployment), status, 0):
        return make_condition(
            before, "Progressing", "True", NEW_AVAILABLE, f"{subject} has successfully progressed.", now
        )
    if _progressed(deployment, status):
        fresh = make_condition(None, "Progressing", "True", UPDATED, f"{subject} is progressing.", now)
        if before is not None and before.get("status") == "True":
            fresh["lastTransitionTime"] = before["lastTransitionTime"]
        return fresh
    if has_timed_out(deployment, now):
        return make_condition(before, "Progressing", "False", TIMED_OUT, f"{subject} has timed out progressing.", now)
    return before


def _progressed(deployment: Object, status: Mapping[str, Any]) -> bool:
    """Whether the counts got better since the status was written."""
    before = deployment.get("status") or {}
    old_before = before.get("replicas", 0) - before.get("updatedReplicas", 0)
    old_now = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    return bool(
        status.get("updatedReplicas", 0) > before.get("updatedReplicas", 0)
        or old_now < old_before
        or status.get("readyReplicas", 0) > before.get("readyReplicas", 0)
        or status.get("availableReplicas", 0) > before.get("availableReplicas", 0)
    )


def has_timed_out(deployment: Object, now: datetime.datetime) -> bool:
    before = condition(deployment, "Progressing")
    if before is None or before.get("reason") in (NEW_AVAILABLE, PAUSED):
        return False
    if before.get("reason") == TIMED_OUT:
        return True
    deadline = progress_deadline(deployment)
    return deadline is not None and (now - parse_time(before["lastUpdateTime"])).total_seconds() > deadline


def seconds_to_deadline(status: Mapping[str, Any], deployment: Object, now: datetime.datetime) -> float | None:
    """When to look again for a rollout that may time out; None when there is nothing to wait for."""
    entry = next((c for c in status.get("conditions") or () if c.get("type") == "Progressing"), None)
    deadline = progress_deadline(deployment)
    if entry is None or deadline is None or entry.get("reason") in (NEW_AVAILABLE, PAUSED, TIMED_OUT):
        return None
    return max(deadline - (now - parse_time(entry["lastUpdateTime"])).total_seconds(), 0.0) + 1.0


def full_status(
    deployment: Object, new: Object | None, every: Sequence[Object], now: datetime.datetime, *, progress: bool
) -> Object:
    """
    The whole status to write.

    Args:
        progress: False while paused or being deleted: the Progressing condition stays as it is.
    """
    status = counts(deployment, new, every)
    progressing = (
        progressing_condition(deployment, new, status, now) if progress else condition(deployment, "Progressing")
    )
    failing = next((c for s in every if (c := condition(s, "ReplicaFailure")) is not None), None)
    conditions = [available_condition(deployment, status, now)]
    if failing is not None:
        before = condition(deployment, "ReplicaFailure")
        conditions.append(make_condition(before, "ReplicaFailure", "True", failing["reason"], failing["message"], now))
    if progressing is not None:
        conditions.append(progressing)
    order = [c["type"] for c in (deployment.get("status") or {}).get("conditions") or ()]
    conditions.sort(key=lambda c: order.index(c["type"]) if c["type"] in order else len(order))
    status["conditions"] = conditions
    return status

"""
Runs of containers that only the API remembers: the runtime's record is gone (pruned, or the disk was lost).

Without them a finished container of a restartPolicy Never pod would run twice. Pure.
"""

import dataclasses
from datetime import datetime

from cluster.kubelet.pod_plan import Observation
from cluster.kubelet.runtime import RESTART_COUNT_ANNOTATION, Container, ContainerState
from cluster.machinery.objects import Object


def nanoseconds(timestamp: str | None) -> int:
    """RFC 3339 -> ns since the epoch; 0 for none."""
    return int(datetime.fromisoformat(timestamp).timestamp() * 1e9) if timestamp else 0


def with_remembered(pod: Object, observed: Observation) -> Observation:
    """Add an exited run for every container whose status says terminated and that the runtime does not know."""
    status = pod.get("status") or {}
    extra = []
    for field in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(field) or ():
            terminated = (entry.get("state") or {}).get("terminated")
            if terminated and observed.latest(entry["name"]) is None:
                extra.append(_exited(entry, terminated))
    return dataclasses.replace(observed, containers=(*observed.containers, *extra)) if extra else observed


def _exited(entry: Object, terminated: Object) -> Container:
    return Container(
        id=str(terminated.get("containerID") or "").rpartition("//")[2],
        sandbox_id="",
        name=entry["name"],
        attempt=int(entry.get("restartCount") or 0),
        state=ContainerState.EXITED,
        started_at=nanoseconds(terminated.get("startedAt")),
        finished_at=nanoseconds(terminated.get("finishedAt")),
        exit_code=int(terminated.get("exitCode") or 0),
        reason=str(terminated.get("reason") or ""),
        message=str(terminated.get("message") or ""),
        image=str(entry.get("image") or ""),
        image_id=str(entry.get("imageID") or ""),
        annotations={RESTART_COUNT_ANNOTATION: str(entry.get("restartCount") or 0)},
    )

"""
What `kubectl get pods` says of a pod: the most telling of all its states.

Source: k8s.io/kubernetes, pkg/printers/internalversion/printers.go (printPod).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cluster.api.printers.ages import since
from cluster.api.printers.formats import condition, is_true, metadata_of, name_of, number, or_none, spec_of, status_of
from cluster.machinery.objects import Object


@dataclass(slots=True)
class _Summary:
    """What is gathered over a pod's containers."""

    reason: str
    ready: int = 0
    total: int = 0
    restarts: int = 0
    last_restart: str = ""
    """Finish of the run before the last restart, as the wire has it; empty for none. RFC 3339 in UTC sorts as text."""

    def count_restarts(self, container: Object) -> None:
        self.restarts += number(container, "restartCount")
        last = (container.get("lastState") or {}).get("terminated") or {}
        self.last_restart = max(self.last_restart, last.get("finishedAt") or "")


def pod_cells(pod: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(pod), status_of(pod)
    summary = _summarize(pod)
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts = f"{restarts} ({since(summary.last_restart, now)} ago)"
    addresses = status.get("podIPs") or ()
    address = (addresses[0].get("ip") if addresses else "") or status.get("podIP")
    return [
        name_of(pod),
        f"{summary.ready}/{summary.total}",
        summary.reason,
        restarts,
        since(metadata_of(pod).get("creationTimestamp"), now),
        or_none(address),
        or_none(spec.get("nodeName")),
        or_none(status.get("nominatedNodeName")),
        _readiness_gates(spec, status),
    ]


def _summarize(pod: Object) -> _Summary:
    spec, status = spec_of(pod), status_of(pod)
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    summary = _Summary(
        reason=status.get("reason") or status.get("phase") or "",
        total=len(spec.get("containers") or ()) + len(sidecars),
    )
    scheduled = condition(status, "PodScheduled")
    if scheduled is not None and scheduled.get("reason") == "SchedulingGated":
        summary.reason = "SchedulingGated"
    sidecar_restarts = _Summary(reason="")
    initializing = _look_at_init_containers(spec, status, sidecars, summary, sidecar_restarts)
    if not initializing or is_true(condition(status, "Initialized")):
        summary.restarts, summary.last_restart = sidecar_restarts.restarts, sidecar_restarts.last_restart
        _look_at_containers(status, summary)
    if metadata_of(pod).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            summary.reason = "Terminating"
    return summary


def _look_at_init_containers(
    spec: Object, status: Object, sidecars: set[str], summary: _Summary, sidecar_restarts: _Summary
) -> bool:
    """Whether the pod still initializes; then the reason names the first init container that is not done."""
    count = len(spec.get("initContainers") or ())
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        summary.count_restarts(container)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            sidecar_restarts.count_restarts(container)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            if container.get("ready"):
                summary.ready += 1
            continue
        if terminated is not None:
            summary.reason = f"Init:{_exit_reason(terminated)}"
        elif waiting and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            summary.reason = f"Init:{waiting['reason']}"
        else:
            summary.reason = f"Init:{index}/{count}"
        return True
    return False


def _look_at_containers(status: Object, summary: _Summary) -> None:
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        summary.count_restarts(container)
        state = container.get("state") or {}
        waiting, terminated = state.get("waiting"), state.get("terminated")
        if waiting and waiting.get("reason"):
            summary.reason = waiting["reason"]
        elif terminated is not None:
            summary.reason = _exit_reason(terminated)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            summary.ready += 1
    if summary.reason == "Completed" and running:
        summary.reason = "Running" if is_true(condition(status, "Ready")) else "NotReady"


def _exit_reason(terminated: Object) -> str:
    if reason := terminated.get("reason"):
        return str(reason)
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _readiness_gates(spec: Object, status: Object) -> str:
    gates = spec.get("readinessGates")
    if not gates:
        return "<none>"
    met = sum(is_true(condition(status, gate.get("conditionType") or "")) for gate in gates)
    return f"{met}/{len(gates)}"

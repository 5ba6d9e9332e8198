"""
The status of a pod, from its spec and what the runtime and the probes show. Pure.

Source of the rules and texts: upstream pkg/kubelet/kubelet_pods.go (getPhase, convertToAPIContainerStatuses)
and pkg/kubelet/status/generate.go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cluster.kubelet.pod_plan import Observation, ProbeFindings, Waiting
from cluster.kubelet.pods import (
    ContainerKind,
    PodContainer,
    app_containers,
    ephemeral_containers,
    init_containers,
    is_terminal,
    restart_policy,
    uses_host_network,
)
from cluster.kubelet.resources import qos_class
from cluster.kubelet.runtime import Container, ContainerState
from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class StatusInputs:
    """What a status is made of beside the Pod and the runtime's view."""

    now: datetime
    host_ips: tuple[str, ...]
    probes: ProbeFindings = field(default_factory=ProbeFindings)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """Containers that should run and do not: name -> why."""
    messages: Mapping[str, str] = field(default_factory=dict)
    """Container id -> termination message read from the host."""
    ended: bool = False
    """All containers have been stopped for good: the phase becomes Succeeded or Failed."""
    verdict: tuple[str, str] | None = None
    """(reason, message) that makes the pod Failed: DeadlineExceeded, Evicted, OutOfcpu …"""


LOST: Object = {
    "exitCode": 137,
    "reason": "ContainerStatusUnknown",
    "message": "The container could not be located when the pod was terminated",
}


def timestamp(nanoseconds: int) -> str:
    return format_time(datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC))


def format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_status(pod: Object, observed: Observation, inputs: StatusInputs) -> Object:
    """The whole status of this node's making; conditions of others are kept."""
    old = pod.get("status") or {}
    inits = [_container_status(pod, c, observed, inputs) for c in init_containers(pod)]
    apps = [_container_status(pod, c, observed, inputs) for c in app_containers(pod)]
    ephemerals = [_container_status(pod, c, observed, inputs) for c in ephemeral_containers(pod)]
    phase = "Failed" if inputs.verdict else _phase(pod, inits, apps, inputs.ended)
    if is_terminal(pod):
        phase = old["phase"]  # a terminal phase is never left
    status: Object = {
        "phase": phase,
        "startTime": old.get("startTime") or format_time(inputs.now),
        "qosClass": qos_class(pod),
        **({"observedGeneration": g} if (g := pod["metadata"].get("generation")) else {}),
        **_addresses(pod, old, observed, inputs),
        **({"initContainerStatuses": inits} if inits else {}),
        "containerStatuses": apps,
        **({"ephemeralContainerStatuses": ephemerals} if ephemerals else {}),
    }
    reason, message = inputs.verdict or (old.get("reason"), old.get("message"))
    if reason:
        status["reason"] = reason
    if message:
        status["message"] = message
    status["conditions"] = _conditions(pod, old, observed, phase, inits, apps, inputs)
    return status


def _addresses(pod: Object, old: Object, observed: Observation, inputs: StatusInputs) -> Object:
    host = {"hostIP": inputs.host_ips[0], "hostIPs": [{"ip": ip} for ip in inputs.host_ips]} if inputs.host_ips else {}
    sandbox = observed.sandbox
    if uses_host_network(pod):
        ips = inputs.host_ips if sandbox is not None else ()
    else:
        ips = sandbox.ips if sandbox is not None and sandbox.ready else ()
    if not ips and old.get("podIPs"):  # a stopped sandbox has none; the address last used stays visible
        return {**host, "podIP": old["podIP"], "podIPs": old["podIPs"]}
    return {**host, "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]} if ips else host


def _terminated(run: Container, messages: Mapping[str, str]) -> Object:
    reason = run.reason or ("Completed" if run.exit_code == 0 else "Error")
    message = messages.get(run.id) or run.message
    return {
        "exitCode": run.exit_code,
        "reason": reason,
        **({"message": message} if message else {}),
        "startedAt": timestamp(run.started_at) if run.started_at else None,
        "finishedAt": timestamp(run.finished_at) if run.finished_at else None,
        **({"containerID": f"containerd://{run.id}"} if run.id else {}),
    }


def _default_waiting(pod: Object, container: PodContainer) -> Waiting:
    has_init = bool(init_containers(pod)) and container.kind is ContainerKind.APP
    return Waiting("PodInitializing" if has_init else "ContainerCreating")


def _waiting(waiting: Waiting) -> Object:
    return {"waiting": {"reason": waiting.reason, **({"message": waiting.message} if waiting.message else {})}}


def _container_status(pod: Object, container: PodContainer, observed: Observation, inputs: StatusInputs) -> Object:
    run, before = observed.latest(container.name), observed.previous(container.name)
    state: Object
    last: Object = {"terminated": _terminated(before, inputs.messages)} if before is not None else {}
    running = run is not None and run.state is ContainerState.RUNNING
    wait = inputs.waiting.get(container.name)
    if run is None or run.state in (ContainerState.CREATED, ContainerState.UNKNOWN):
        state = _waiting(wait or _default_waiting(pod, container))
        if run is not None and run.state is ContainerState.UNKNOWN:
            state = {"terminated": dict(LOST)}
    elif running:
        state = {"running": {"startedAt": timestamp(run.started_at)}}
    elif wait is not None:
        state, last = _waiting(wait), {"terminated": _terminated(run, inputs.messages)}
    else:
        state = {"terminated": _terminated(run, inputs.messages)}
    started = running and run is not None and run.id in inputs.probes.started
    ready = started and run is not None and run.id in inputs.probes.ready
    if container.kind is ContainerKind.INIT:
        ready = "terminated" in state and state["terminated"]["exitCode"] == 0
    entry: Object = {
        "name": container.name,
        "state": state,
        "lastState": last,
        "ready": ready,
        "restartCount": run.restart_count if run is not None else 0,
        "image": (run.image if run is not None else "") or container.spec.get("image", ""),
        "imageID": run.image_id if run is not None else "",
        "started": started,
    }
    if run is not None and run.id:
        entry["containerID"] = f"containerd://{run.id}"
    resources = container.spec.get("resources")
    if resources:
        entry["resources"] = resources
        if resources.get("requests"):
            entry["allocatedResources"] = resources["requests"]
    return entry


def _phase(pod: Object, inits: Sequence[Object], apps: Sequence[Object], ended: bool) -> str:
    policy = restart_policy(pod)
    for container, status in zip(init_containers(pod), inits, strict=True):
        over = status["state"].get("terminated")
        if container.kind is ContainerKind.INIT and over and over["exitCode"] != 0 and (policy == "Never" or ended):
            return "Failed"
    if not ended and not _is_initialized(pod, inits, apps):
        return "Pending"
    running = stopped = succeeded = waiting = 0
    for status in apps:
        state = status["state"]
        if "running" in state:
            running += 1
        elif "terminated" in state:
            stopped += 1
            succeeded += state["terminated"]["exitCode"] == 0
        elif status["lastState"].get("terminated"):
            stopped += 1
        else:
            waiting += 1
    if ended:
        return "Succeeded" if stopped and stopped == succeeded and not waiting else "Failed"
    if waiting:
        return "Pending"
    if running or policy == "Always":
        return "Running"
    if stopped == succeeded:
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _is_initialized(pod: Object, inits: Sequence[Object], apps: Sequence[Object]) -> bool:
    if any(not _is_untouched(status) for status in apps):
        return True
    return not _incomplete(pod, inits)


def _is_untouched(status: Object) -> bool:
    """Neither running nor ever run."""
    return "waiting" in status["state"] and not status["lastState"]


def _incomplete(pod: Object, inits: Sequence[Object]) -> list[str]:
    """Init containers that are still in the way."""
    names = []
    for container, status in zip(init_containers(pod), inits, strict=True):
        done = status["started"] if container.kind is ContainerKind.SIDECAR else status["ready"]
        if not done:
            names.append(container.name)
    return names


def _conditions(
    pod: Object,
    old: Object,
    observed: Observation,
    phase: str,
    inits: Sequence[Object],
    apps: Sequence[Object],
    inputs: StatusInputs,
) -> list[Object]:
    sandbox = observed.sandbox
    has_network = sandbox is not None and sandbox.ready and (bool(sandbox.ips) or uses_host_network(pod))
    incomplete = [] if any(not _is_untouched(s) for s in apps) else _incomplete(pod, inits)
    sidecars = [s for c, s in zip(init_containers(pod), inits, strict=True) if c.kind is ContainerKind.SIDECAR]
    unready = [s["name"] for s in (*sidecars, *apps) if not s["ready"]]
    wanted: dict[str, tuple[bool, str, str]] = {"PodReadyToStartContainers": (has_network, "", "")}
    if phase == "Succeeded":
        wanted["Initialized"] = (True, "PodCompleted", "")
        wanted["Ready"] = wanted["ContainersReady"] = (False, "PodCompleted", "")
    elif phase == "Failed":
        wanted["Initialized"] = (not incomplete, "PodFailed" if incomplete else "", "")
        wanted["Ready"] = wanted["ContainersReady"] = (False, "PodFailed", "")
    else:
        text = f"containers with incomplete status: [{' '.join(incomplete)}]"
        wanted["Initialized"] = (False, "ContainersNotInitialized", text) if incomplete else (True, "", "")
        text = f"containers with unready status: [{' '.join(unready)}]"
        wanted["ContainersReady"] = (False, "ContainersNotReady", text) if unready else (True, "", "")
        wanted["Ready"] = _gated(pod, old, wanted["ContainersReady"])
    merged = {c["type"]: c for c in old.get("conditions") or ()}
    generation = pod["metadata"].get("generation")
    for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"):
        merged[kind] = _condition(kind, wanted[kind], merged.get(kind), inputs.now, generation)
    merged.setdefault("PodScheduled", _condition("PodScheduled", (True, "", ""), None, inputs.now, generation))
    return list(merged.values())


def _gated(pod: Object, old: Object, containers: tuple[bool, str, str]) -> tuple[bool, str, str]:
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates") or ()]
    if not containers[0] or not gates:
        return containers
    present = {c["type"]: c.get("status") for c in old.get("conditions") or ()}
    texts = []
    for gate in gates:
        if gate not in present:
            texts.append(f'corresponding condition of pod readiness gate "{gate}" does not exist.')
        elif present[gate] != "True":
            texts.append(f'the status of pod readiness gate "{gate}" is not "True", but {present[gate]}')
    return (False, "ReadinessGatesNotReady", ", ".join(texts)) if texts else containers


def _condition(
    kind: str, wanted: tuple[bool, str, str], old: Object | None, now: datetime, generation: int | None
) -> Object:
    holds, reason, message = wanted
    status = "True" if holds else "False"
    unchanged = old is not None and old.get("status") == status
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": old["lastTransitionTime"] if unchanged and old else format_time(now),
        **({"reason": reason} if reason else {}),
        **({"message": message} if message else {}),
        **({"observedGeneration": generation} if generation else {}),
    }

"""
The Node object as this machine is: labels, capacity, conditions, images. Pure; node_facts.py reads the machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.kubelet.resources import amounts, parse_amount
from cluster.kubelet.runtime import Image, RuntimeCondition, RuntimeVersion
from cluster.kubelet.settings import KubeletSettings
from cluster.machinery.objects import Object
from cluster.settings import KUBERNETES_VERSION

KUBELET_VERSION = f"v{KUBERNETES_VERSION}"
"""The API level that this kubelet serves; version skew checks look at it."""
MAX_IMAGES = 50
"""More would make every Node object large. Source: upstream --node-status-max-images."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What does not change while the kubelet runs. Bytes and pieces."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    hugepages: Mapping[str, int] = field(default_factory=dict)
    """`2Mi` -> bytes set aside."""
    architecture: str = "amd64"
    kernel: str = ""
    os_image: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    boot_id: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pressure:
    """What is short at the moment."""

    memory_available: int
    disk_available: int
    disk_capacity: int
    pids_used: int
    pids_max: int


def default_labels(name: str, architecture: str) -> dict[str, str]:
    return {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }


def initial_node(settings: KubeletSettings, machine: MachineFacts) -> Object:
    """What is created when the API does not know the node yet."""
    spec: Object = {}
    if settings.taints:
        spec["taints"] = [dict(t) for t in settings.taints]
    if settings.provider_id:
        spec["providerID"] = settings.provider_id
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": settings.node_name,
            "labels": {**default_labels(settings.node_name, machine.architecture), **settings.node_labels},
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": spec,
    }


def capacity(machine: MachineFacts, max_pods: int) -> Object:
    return {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory_bytes // 1024}Ki",
        "ephemeral-storage": f"{machine.disk_bytes // 1024}Ki",
        "pods": str(max_pods),
        **{f"hugepages-{size}": str(total) for size, total in machine.hugepages.items()},
    }


def allocatable(machine: MachineFacts, settings: KubeletSettings) -> Object:
    """Capacity less what is reserved for the system and what eviction keeps free."""
    total = amounts(capacity(machine, settings.max_pods))
    for reserved in (settings.system_reserved, settings.kube_reserved):
        for name, amount in amounts(reserved).items():
            total[name] = max(0, total.get(name, 0) - amount)
    total["memory"] = max(0, total["memory"] - threshold(settings.eviction_memory, machine.memory_bytes))
    total["ephemeral-storage"] -= threshold(settings.eviction_disk, total["ephemeral-storage"])
    cpu = total.pop("cpu")
    shown = {name: str(amount) for name, amount in total.items()}
    shown["memory"] = f"{total['memory'] // 1024}Ki"
    return {"cpu": str(cpu // 1000) if cpu % 1000 == 0 else f"{cpu}m", **shown}


def threshold(text: str, whole: int) -> int:
    """`100Mi`, or `10%` of the whole."""
    if text.endswith("%"):
        return int(whole * float(text[:-1]) / 100)
    return int(parse_amount(text))


def condition(kind: str, holds: bool, reason: str, message: str, now: str, old: Mapping[str, Object]) -> Object:
    status = "True" if holds else "False"
    before = old.get(kind)
    changed = before is None or before.get("status") != status
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now if changed or before is None else before.get("lastTransitionTime", now),
    }


def conditions(
    runtime: Sequence[RuntimeCondition],
    runtime_fault: str,
    pressure: Pressure,
    settings: KubeletSettings,
    machine: MachineFacts,
    now: str,
    old: Iterable[Object],
) -> list[Object]:
    """MemoryPressure, DiskPressure, PIDPressure and Ready, in upstream's order."""
    before = {str(c["type"]): c for c in old}
    memory = pressure.memory_available < threshold(settings.eviction_memory, machine.memory_bytes)
    disk = pressure.disk_available < threshold(settings.eviction_disk, pressure.disk_capacity)
    pids = pressure.pids_max > 0 and pressure.pids_used > 0.95 * pressure.pids_max
    rows = [
        ("MemoryPressure", memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "memory"),
        ("DiskPressure", disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "disk pressure"),
        ("PIDPressure", pids, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "PID"),
    ]
    texts = {
        ("MemoryPressure", True): "kubelet has insufficient memory available",
        ("MemoryPressure", False): "kubelet has sufficient memory available",
        ("DiskPressure", True): "kubelet has disk pressure",
        ("DiskPressure", False): "kubelet has no disk pressure",
        ("PIDPressure", True): "kubelet has insufficient PID available",
        ("PIDPressure", False): "kubelet has sufficient PID available",
    }
    found = [
        condition(kind, holds, bad if holds else good, texts[kind, holds], now, before)
        for kind, holds, bad, good, _ in rows
    ]
    faults = runtime_faults(runtime, runtime_fault)
    if faults:
        found.append(condition("Ready", False, "KubeletNotReady", "; ".join(faults), now, before))
    else:
        found.append(condition("Ready", True, "KubeletReady", "kubelet is posting ready status", now, before))
    return found


def runtime_faults(runtime: Sequence[RuntimeCondition], fault: str) -> list[str]:
    if fault:
        return [f"container runtime is down: {fault}"]
    texts = {"RuntimeReady": "container runtime not ready", "NetworkReady": "container runtime network not ready"}
    return [
        f"{texts[c.type]}: {c.type}={str(c.status).lower()} reason:{c.reason} message:{c.message}"
        for c in runtime
        if c.type in texts and not c.status
    ]


def image_list(images: Iterable[Image]) -> list[Object]:
    rows = [{"names": [*image.digests[:5], *image.tags[:5]] or [image.id], "sizeBytes": image.size} for image in images]
    return sorted(rows, key=lambda row: (-int(str(row["sizeBytes"])), row["names"]))[:MAX_IMAGES]


def node_info(machine: MachineFacts, version: RuntimeVersion) -> Object:
    return {
        "architecture": machine.architecture,
        "bootID": machine.boot_id,
        "containerRuntimeVersion": f"{version.name}://{version.version}",
        "kernelVersion": machine.kernel,
        "kubeProxyVersion": "",
        "kubeletVersion": KUBELET_VERSION,
        "machineID": machine.machine_id,
        "operatingSystem": "linux",
        "osImage": machine.os_image,
        "systemUUID": machine.system_uuid,
    }


def node_addresses(settings: KubeletSettings, machine: MachineFacts) -> list[Object]:
    ips = settings.node_ips or machine.addresses
    return [
        *({"type": "InternalIP", "address": ip} for ip in ips),
        {"type": "Hostname", "address": settings.node_name},
    ]

"""
From a Pod to what the runtime is asked for: sandbox and container specs. Pure.

Source: upstream kuberuntime, generatePodSandboxConfig, generateContainerConfig and security_context.go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import orjson

from cluster.kubelet.environment import expand
from cluster.kubelet.pod_network import sandbox_hostname
from cluster.kubelet.pods import (
    PodContainer,
    container_hash,
    grace_period,
    log_directory,
    uses_host_network,
)
from cluster.kubelet.resources import container_resources
from cluster.kubelet.runtime import (
    CONTAINER_NAME_LABEL,
    CONTAINER_TYPE_ANNOTATION,
    GRACE_PERIOD_ANNOTATION,
    HASH_ANNOTATION,
    POD_NAME_LABEL,
    POD_NAMESPACE_LABEL,
    POD_UID_LABEL,
    PRE_STOP_ANNOTATION,
    RESTART_COUNT_ANNOTATION,
    TERMINATION_PATH_ANNOTATION,
    TERMINATION_POLICY_ANNOTATION,
    ContainerSecurity,
    ContainerSpec,
    DnsConfig,
    Image,
    Mount,
    NamespaceMode,
    Namespaces,
    PortMapping,
    SandboxSpec,
    SecurityProfile,
)
from cluster.machinery.objects import Object

# What a container without procMount=Unmasked must not see or write. Source: upstream pkg/securitycontext.
MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class ConfigurationError(Exception):
    """The container cannot be configured as asked: CreateContainerConfigError. Remedy: change the pod or the image."""


def pod_labels(pod: Object) -> dict[str, str]:
    metadata = pod["metadata"]
    return {
        POD_NAME_LABEL: metadata["name"],
        POD_NAMESPACE_LABEL: metadata["namespace"],
        POD_UID_LABEL: metadata["uid"],
    }


def namespaces(pod: Object, target_id: str = "") -> Namespaces:
    spec = pod["spec"]
    pid = NamespaceMode.CONTAINER
    if spec.get("hostPID"):
        pid = NamespaceMode.NODE
    elif spec.get("shareProcessNamespace"):
        pid = NamespaceMode.POD
    elif target_id:
        pid = NamespaceMode.TARGET
    return Namespaces(
        network=NamespaceMode.NODE if spec.get("hostNetwork") else NamespaceMode.POD,
        pid=pid,
        ipc=NamespaceMode.NODE if spec.get("hostIPC") else NamespaceMode.POD,
        target_id=target_id if pid is NamespaceMode.TARGET else "",
    )


def port_mappings(pod: Object) -> tuple[PortMapping, ...]:
    if uses_host_network(pod):
        return ()
    containers = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    return tuple(
        PortMapping(p.get("protocol") or "TCP", p["containerPort"], p["hostPort"], p.get("hostIP") or "")
        for c in containers
        for p in c.get("ports") or ()
        if p.get("hostPort")
    )


def _profile(given: Mapping[str, str] | None, seccomp_root: str) -> SecurityProfile | None:
    if not given:
        return None
    ref = given.get("localhostProfile") or ""
    if given["type"] == "Localhost" and seccomp_root:
        ref = str(PurePosixPath(seccomp_root) / ref)
    return SecurityProfile(given["type"], ref)


def supplemental_groups(pod: Object, volume_groups: Sequence[int] = ()) -> tuple[int, ...]:
    context = pod["spec"].get("securityContext") or {}
    groups = [*(context.get("supplementalGroups") or ())]
    if context.get("fsGroup") is not None:
        groups.append(context["fsGroup"])
    return tuple(dict.fromkeys([*groups, *volume_groups]))


@dataclass(frozen=True, slots=True)
class NodeView:
    """What specs need to know of the node."""

    log_root: str
    cluster_domain: str
    memory_bytes: int
    seccomp_root: str


def sandbox_spec(pod: Object, attempt: int, dns: DnsConfig, cgroup_parent: str, node: NodeView) -> SandboxSpec:
    context = pod["spec"].get("securityContext") or {}
    containers = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    metadata = pod["metadata"]
    return SandboxSpec(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        attempt=attempt,
        hostname="" if uses_host_network(pod) else sandbox_hostname(pod, node.cluster_domain),
        log_directory=log_directory(node.log_root, pod),
        dns=dns,
        cgroup_parent=cgroup_parent,
        namespaces=namespaces(pod),
        ports=port_mappings(pod),
        labels={**(metadata.get("labels") or {}), **pod_labels(pod)},
        annotations=metadata.get("annotations") or {},
        sysctls={s["name"]: s["value"] for s in context.get("sysctls") or ()},
        privileged=any((c.get("securityContext") or {}).get("privileged") for c in containers),
        run_as_user=context.get("runAsUser"),
        run_as_group=context.get("runAsGroup") if context.get("runAsUser") is not None else None,
        supplemental_groups=supplemental_groups(pod),
        seccomp=SecurityProfile("RuntimeDefault"),
    )


def security(pod: Object, container: Object, image: Image, node: NodeView, target_id: str = "") -> ContainerSecurity:
    """Raises ConfigurationError when runAsNonRoot forbids the image's user."""
    outer = pod["spec"].get("securityContext") or {}
    own = container.get("securityContext") or {}

    def chosen(field: str) -> object:
        return own[field] if own.get(field) is not None else outer.get(field)

    user = chosen("runAsUser")
    username = ""
    if user is None:
        user, username = image.uid, image.username
        if user is None and not username:
            user = 0
    if chosen("runAsNonRoot"):
        _check_non_root(user if isinstance(user, int) else None, username, container, chosen("runAsUser") is not None)
    privileged = bool(own.get("privileged"))
    capabilities = own.get("capabilities") or {}
    unmasked = own.get("procMount") == "Unmasked" or privileged
    group = chosen("runAsGroup")
    seccomp = chosen("seccompProfile")
    apparmor = chosen("appArmorProfile")
    return ContainerSecurity(
        privileged=privileged,
        run_as_user=user if isinstance(user, int) else None,
        run_as_username=username,
        run_as_group=group if isinstance(group, int) else None,
        supplemental_groups=supplemental_groups(pod),
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False and not privileged,
        seccomp=_profile(seccomp if isinstance(seccomp, dict) else None, node.seccomp_root)
        or SecurityProfile("Unconfined"),
        apparmor=_profile(apparmor if isinstance(apparmor, dict) else None, ""),
        masked_paths=() if unmasked else MASKED_PATHS,
        readonly_paths=() if unmasked else READONLY_PATHS,
        namespaces=namespaces(pod, target_id),
    )


def _check_non_root(user: int | None, username: str, container: Object, set_by_pod: bool) -> None:
    name = container["name"]
    if user == 0:
        whose = "container's runAsUser breaks non-root policy" if set_by_pod else (
            "container has runAsNonRoot and image will run as root"
        )  # fmt: skip
        raise ConfigurationError(f"{whose} (container: {name})")
    if user is None and username:
        raise ConfigurationError(
            f"container has runAsNonRoot and image has non-numeric user ({username}),"
            f" cannot verify user is non-root (container: {name})"
        )


@dataclass(frozen=True, slots=True)
class ContainerInputs:
    """What a container's spec is made of beside the Pod: gathered by the worker."""

    attempt: int
    restart_count: int
    image: Image
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    devices: tuple[str, ...] = ()
    target_id: str = ""


def container_spec(pod: Object, item: PodContainer, inputs: ContainerInputs, node: NodeView) -> ContainerSpec:
    """Raises ConfigurationError."""
    container = item.spec
    annotations = {
        HASH_ANNOTATION: container_hash(container),
        RESTART_COUNT_ANNOTATION: str(inputs.restart_count),
        TERMINATION_PATH_ANNOTATION: container.get("terminationMessagePath") or "/dev/termination-log",
        TERMINATION_POLICY_ANNOTATION: container.get("terminationMessagePolicy") or "File",
        CONTAINER_TYPE_ANNOTATION: item.kind.value,
        GRACE_PERIOD_ANNOTATION: str(grace_period(pod)),
    }
    pre_stop = (container.get("lifecycle") or {}).get("preStop")
    if pre_stop:
        annotations[PRE_STOP_ANNOTATION] = orjson.dumps(pre_stop).decode()
    return ContainerSpec(
        name=item.name,
        attempt=inputs.attempt,
        image=inputs.image.id,
        command=tuple(expand(word, inputs.env) for word in container.get("command") or ()),
        args=tuple(expand(word, inputs.env) for word in container.get("args") or ()),
        working_dir=container.get("workingDir") or "",
        env=tuple(inputs.env.items()),
        mounts=inputs.mounts,
        devices=inputs.devices,
        labels={**pod_labels(pod), CONTAINER_NAME_LABEL: item.name},
        annotations=annotations,
        log_path=f"{item.name}/{inputs.restart_count}.log",
        resources=container_resources(pod, container, node.memory_bytes),
        security=security(pod, container, inputs.image, node, inputs.target_id),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
    )

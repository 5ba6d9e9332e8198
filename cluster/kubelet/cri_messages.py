"""
CRI messages to and from the dataclasses of runtime.py. Pure; only cri_runtime.py calls it.
"""

from collections.abc import Iterable
from typing import Any

from cluster.kubelet.generated import cri_pb2 as cri
from cluster.kubelet.runtime import (
    CONTAINER_NAME_LABEL,
    Container,
    ContainerSecurity,
    ContainerSpec,
    ContainerState,
    Image,
    LinuxResources,
    Mount,
    Namespaces,
    Sandbox,
    SandboxSpec,
    SecurityProfile,
)

_STATES = {
    cri.CONTAINER_CREATED: ContainerState.CREATED,
    cri.CONTAINER_RUNNING: ContainerState.RUNNING,
    cri.CONTAINER_EXITED: ContainerState.EXITED,
}
_PROPAGATION = {
    "None": cri.PROPAGATION_PRIVATE,
    "HostToContainer": cri.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": cri.PROPAGATION_BIDIRECTIONAL,
}
_PROPAGATION_NAMES = {number: name for name, number in _PROPAGATION.items()}


def state_of(number: int) -> ContainerState:
    return _STATES.get(number, ContainerState.UNKNOWN)


def _profile(profile: SecurityProfile | None) -> Any:
    if profile is None:
        return None
    kind = cri.SecurityProfile.ProfileType.Value(profile.kind)
    return cri.SecurityProfile(profile_type=kind, localhost_ref=profile.localhost_ref)


def _namespaces(spec: Namespaces) -> Any:
    mode = cri.NamespaceMode.Value
    return cri.NamespaceOption(
        network=mode(spec.network), pid=mode(spec.pid), ipc=mode(spec.ipc), target_id=spec.target_id
    )


def _number(value: int | None) -> Any:
    return None if value is None else cri.Int64Value(value=value)


def sandbox_config(spec: SandboxSpec) -> Any:
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=spec.name, uid=spec.uid, namespace=spec.namespace, attempt=spec.attempt),
        hostname=spec.hostname,
        log_directory=spec.log_directory,
        dns_config=cri.DNSConfig(servers=spec.dns.servers, searches=spec.dns.searches, options=spec.dns.options),
        port_mappings=[
            cri.PortMapping(
                protocol=cri.Protocol.Value(p.protocol),
                container_port=p.container_port,
                host_port=p.host_port,
                host_ip=p.host_ip,
            )
            for p in spec.ports
        ],
        labels=dict(spec.labels),
        annotations=dict(spec.annotations),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=spec.cgroup_parent,
            sysctls=dict(spec.sysctls),
            security_context=cri.LinuxSandboxSecurityContext(
                namespace_options=_namespaces(spec.namespaces),
                privileged=spec.privileged,
                run_as_user=_number(spec.run_as_user),
                run_as_group=_number(spec.run_as_group),
                supplemental_groups=spec.supplemental_groups,
                seccomp=_profile(spec.seccomp),
            ),
        ),
    )


def linux_resources(resources: LinuxResources) -> Any:
    return cri.LinuxContainerResources(
        cpu_period=resources.cpu_period,
        cpu_quota=resources.cpu_quota,
        cpu_shares=resources.cpu_shares,
        memory_limit_in_bytes=resources.memory_limit,
        oom_score_adj=resources.oom_score_adj,
        unified=dict(resources.unified),
    )


def _security(security: ContainerSecurity) -> Any:
    return cri.LinuxContainerSecurityContext(
        capabilities=cri.Capability(
            add_capabilities=security.add_capabilities, drop_capabilities=security.drop_capabilities
        ),
        privileged=security.privileged,
        namespace_options=_namespaces(security.namespaces),
        run_as_user=_number(security.run_as_user),
        run_as_username=security.run_as_username,
        run_as_group=_number(security.run_as_group),
        readonly_rootfs=security.read_only_root,
        supplemental_groups=security.supplemental_groups,
        no_new_privs=security.no_new_privileges,
        seccomp=_profile(security.seccomp),
        apparmor=_profile(security.apparmor),
        masked_paths=security.masked_paths,
        readonly_paths=security.readonly_paths,
    )


def container_config(spec: ContainerSpec) -> Any:
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=spec.name, attempt=spec.attempt),
        image=cri.ImageSpec(image=spec.image),
        command=spec.command,
        args=spec.args,
        working_dir=spec.working_dir,
        envs=[cri.KeyValue(key=key, value=value) for key, value in spec.env],
        mounts=[
            cri.Mount(
                container_path=m.container_path,
                host_path=m.host_path,
                readonly=m.read_only,
                propagation=_PROPAGATION[m.propagation],
            )
            for m in spec.mounts
        ],
        devices=[cri.Device(container_path=d, host_path=d, permissions="mrw") for d in spec.devices],
        labels=dict(spec.labels),
        annotations=dict(spec.annotations),
        log_path=spec.log_path,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
        linux=cri.LinuxContainerConfig(
            resources=linux_resources(spec.resources), security_context=_security(spec.security)
        ),
    )


def read_sandbox(item: Any, ips: Iterable[str]) -> Sandbox:
    return Sandbox(
        id=item.id,
        name=item.metadata.name,
        namespace=item.metadata.namespace,
        uid=item.metadata.uid,
        attempt=item.metadata.attempt,
        ready=item.state == cri.SANDBOX_READY,
        created_at=item.created_at,
        ips=tuple(ips),
    )


def read_container(status: Any) -> Container:
    return Container(
        id=status.id,
        sandbox_id="",
        name=status.labels.get(CONTAINER_NAME_LABEL, status.metadata.name),
        attempt=status.metadata.attempt,
        state=state_of(status.state),
        created_at=status.created_at,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        image=status.image.image,
        image_id=status.image_ref,
        labels=dict(status.labels),
        annotations=dict(status.annotations),
        log_path=status.log_path,
        mounts=tuple(
            Mount(m.container_path, m.host_path, m.readonly, _PROPAGATION_NAMES.get(m.propagation, "None"))
            for m in status.mounts
        ),
    )


def read_image(image: Any) -> Image:
    return Image(
        id=image.id,
        tags=tuple(image.repo_tags),
        digests=tuple(image.repo_digests),
        size=image.size,
        uid=image.uid.value if image.HasField("uid") else None,
        username=image.username,
        pinned=image.pinned,
    )

"""
CRI v1 over gRPC on the runtime's unix socket.

The only module that knows the CRI's messages; everybody else sees the dataclasses of runtime.py.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio

from cluster.kubelet.generated import cri_pb2 as cri
from cluster.kubelet.runtime import (
    CONTAINER_NAME_LABEL,
    POD_UID_LABEL,
    Container,
    ContainerSecurity,
    ContainerSpec,
    ContainerState,
    ContainerSummary,
    ContainerUsage,
    ExecResult,
    FilesystemUsage,
    Image,
    LinuxResources,
    Mount,
    Namespaces,
    RegistryCredentials,
    RuntimeCondition,
    RuntimeFault,
    RuntimeVersion,
    Sandbox,
    SandboxSpec,
    SecurityProfile,
)

_RUNTIME = "/runtime.v1.RuntimeService/"
_IMAGES = "/runtime.v1.ImageService/"
_EVENTS = "/containerd.services.events.v1.Events/Subscribe"

# Answers carry whole labels and annotations: a list of 500 containers passes grpc's 4 MiB. Upstream: 16 MiB.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
CALL_SECONDS = 120.0
"""Upstream's --runtime-request-timeout is 2 min; pulls, stops and execs have their own."""
PULL_SECONDS = 30 * 60.0

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


class CriRuntime:
    """One connection to the runtime; `async with` closes it."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is unix:///path."""
        self.endpoint = endpoint
        self._channel = grpc.aio.insecure_channel(
            endpoint,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                # containerd starts seconds after us at boot: grpc's own back-off grows to two minutes.
                ("grpc.max_reconnect_backoff_ms", 2000),
                ("grpc.default_authority", "localhost"),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._calls: dict[str, Any] = {}

    async def __aenter__(self) -> "CriRuntime":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channel.close()

    async def _call(self, path: str, request: Any, answer: Any, seconds: float | None = CALL_SECONDS) -> Any:
        method = self._calls.get(path)
        if method is None:
            method = self._calls[path] = self._channel.unary_unary(
                path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
            )
        try:
            return await method(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise RuntimeFault(error.details() or str(error.code()), error.code().name) from error

    async def version(self) -> RuntimeVersion:
        v = await self._call(_RUNTIME + "Version", cri.VersionRequest(version="0.1.0"), cri.VersionResponse)
        return RuntimeVersion(v.runtime_name, v.runtime_version, v.runtime_api_version)

    async def conditions(self) -> Sequence[RuntimeCondition]:
        answer = await self._call(_RUNTIME + "Status", cri.StatusRequest(), cri.StatusResponse)
        return [RuntimeCondition(c.type, c.status, c.reason, c.message) for c in answer.status.conditions]

    async def set_pod_cidr(self, cidr: str) -> None:
        config = cri.RuntimeConfig(network_config=cri.NetworkConfig(pod_cidr=cidr))
        request = cri.UpdateRuntimeConfigRequest(runtime_config=config)
        await self._call(_RUNTIME + "UpdateRuntimeConfig", request, cri.UpdateRuntimeConfigResponse)

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        request = cri.RunPodSandboxRequest(config=_sandbox_config(spec), runtime_handler=spec.runtime_handler)
        answer = await self._call(_RUNTIME + "RunPodSandbox", request, cri.RunPodSandboxResponse, 4 * 60)
        return str(answer.pod_sandbox_id)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._gone_is_fine(_RUNTIME + "StopPodSandbox", request, cri.StopPodSandboxResponse)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._gone_is_fine(_RUNTIME + "RemovePodSandbox", request, cri.RemovePodSandboxResponse)

    async def sandbox_status(self, sandbox_id: str) -> Sandbox | None:
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        try:
            answer = await self._call(_RUNTIME + "PodSandboxStatus", request, cri.PodSandboxStatusResponse)
        except RuntimeFault as fault:
            if fault.code == "NOT_FOUND":
                return None
            raise
        status = answer.status
        ips = (status.network.ip, *(ip.ip for ip in status.network.additional_ips)) if status.network.ip else ()
        return _sandbox(status, ips)

    async def list_sandboxes(self, pod_uid: str = "") -> Sequence[Sandbox]:
        labels = {POD_UID_LABEL: pod_uid} if pod_uid else {}
        request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector=labels))
        answer = await self._call(_RUNTIME + "ListPodSandbox", request, cri.ListPodSandboxResponse)
        return [_sandbox(item, ()) for item in answer.items]

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str:
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=_container_config(spec), sandbox_config=_sandbox_config(sandbox)
        )
        answer = await self._call(_RUNTIME + "CreateContainer", request, cri.CreateContainerResponse)
        return str(answer.container_id)

    async def start_container(self, container_id: str) -> None:
        request = cri.StartContainerRequest(container_id=container_id)
        await self._call(_RUNTIME + "StartContainer", request, cri.StartContainerResponse)

    async def stop_container(self, container_id: str, grace: int) -> None:
        request = cri.StopContainerRequest(container_id=container_id, timeout=grace)
        path = _RUNTIME + "StopContainer"
        await self._gone_is_fine(path, request, cri.StopContainerResponse, grace + CALL_SECONDS)

    async def remove_container(self, container_id: str) -> None:
        request = cri.RemoveContainerRequest(container_id=container_id)
        await self._gone_is_fine(_RUNTIME + "RemoveContainer", request, cri.RemoveContainerResponse)

    async def list_containers(self, pod_uid: str = "") -> Sequence[ContainerSummary]:
        labels = {POD_UID_LABEL: pod_uid} if pod_uid else {}
        request = cri.ListContainersRequest(filter=cri.ContainerFilter(label_selector=labels))
        answer = await self._call(_RUNTIME + "ListContainers", request, cri.ListContainersResponse)
        return [
            ContainerSummary(
                id=c.id,
                sandbox_id=c.pod_sandbox_id,
                pod_uid=c.labels.get(POD_UID_LABEL, ""),
                name=c.labels.get(CONTAINER_NAME_LABEL, c.metadata.name),
                attempt=c.metadata.attempt,
                state=_STATES.get(c.state, ContainerState.UNKNOWN),
                created_at=c.created_at,
            )
            for c in answer.containers
        ]

    async def container_status(self, container_id: str) -> Container | None:
        request = cri.ContainerStatusRequest(container_id=container_id)
        try:
            answer = await self._call(_RUNTIME + "ContainerStatus", request, cri.ContainerStatusResponse)
        except RuntimeFault as fault:
            if fault.code == "NOT_FOUND":
                return None
            raise
        return _container(answer.status)

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None:
        request = cri.UpdateContainerResourcesRequest(container_id=container_id, linux=_resources(resources))
        await self._call(_RUNTIME + "UpdateContainerResources", request, cri.UpdateContainerResourcesResponse)

    async def reopen_log(self, container_id: str) -> None:
        request = cri.ReopenContainerLogRequest(container_id=container_id)
        await self._call(_RUNTIME + "ReopenContainerLog", request, cri.ReopenContainerLogResponse)

    async def exec_sync(self, container_id: str, command: Sequence[str], seconds: int) -> ExecResult:
        request = cri.ExecSyncRequest(container_id=container_id, cmd=command, timeout=seconds)
        # The runtime ends the command at `seconds`; ours is the backstop should it not answer.
        limit = seconds + 10.0 if seconds else None
        answer = await self._call(_RUNTIME + "ExecSync", request, cri.ExecSyncResponse, limit)
        return ExecResult(answer.stdout, answer.stderr, answer.exit_code)

    async def exec_url(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> str:
        request = cri.ExecRequest(
            container_id=container_id, cmd=command, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty
        )
        return str((await self._call(_RUNTIME + "Exec", request, cri.StreamingResponse)).url)

    async def attach_url(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        request = cri.AttachRequest(container_id=container_id, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        return str((await self._call(_RUNTIME + "Attach", request, cri.StreamingResponse)).url)

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        request = cri.PortForwardRequest(pod_sandbox_id=sandbox_id, port=ports)
        return str((await self._call(_RUNTIME + "PortForward", request, cri.StreamingResponse)).url)

    async def usage(self) -> Sequence[ContainerUsage]:
        request = cri.ListContainerStatsRequest()
        answer = await self._call(_RUNTIME + "ListContainerStats", request, cri.ListContainerStatsResponse)
        return [
            ContainerUsage(
                container_id=s.attributes.id,
                timestamp=s.cpu.timestamp or s.memory.timestamp,
                cpu_nanoseconds=s.cpu.usage_core_nano_seconds.value,
                memory_working_set=s.memory.working_set_bytes.value,
                memory_usage=s.memory.usage_bytes.value,
                memory_rss=s.memory.rss_bytes.value,
                page_faults=s.memory.page_faults.value,
                major_page_faults=s.memory.major_page_faults.value,
                writable_layer_bytes=s.writable_layer.used_bytes.value,
                writable_layer_inodes=s.writable_layer.inodes_used.value,
            )
            for s in answer.stats
        ]

    async def list_images(self) -> Sequence[Image]:
        answer = await self._call(_IMAGES + "ListImages", cri.ListImagesRequest(), cri.ListImagesResponse)
        return [_image(image) for image in answer.images]

    async def image_status(self, reference: str) -> Image | None:
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=reference))
        answer = await self._call(_IMAGES + "ImageStatus", request, cri.ImageStatusResponse)
        return _image(answer.image) if answer.HasField("image") else None

    async def pull_image(self, reference: str, credentials: RegistryCredentials | None) -> str:
        request = cri.PullImageRequest(image=cri.ImageSpec(image=reference))
        if credentials is not None:
            request.auth.username, request.auth.password = credentials.username, credentials.password
            request.auth.server_address = credentials.server
        answer = await self._call(_IMAGES + "PullImage", request, cri.PullImageResponse, PULL_SECONDS)
        return str(answer.image_ref)

    async def remove_image(self, reference: str) -> None:
        request = cri.RemoveImageRequest(image=cri.ImageSpec(image=reference))
        await self._call(_IMAGES + "RemoveImage", request, cri.RemoveImageResponse)

    async def image_filesystem(self) -> FilesystemUsage | None:
        answer = await self._call(_IMAGES + "ImageFsInfo", cri.ImageFsInfoRequest(), cri.ImageFsInfoResponse)
        for usage in answer.image_filesystems:
            return FilesystemUsage(usage.fs_id.mountpoint, usage.used_bytes.value, usage.inodes_used.value)
        return None

    async def events(self) -> AsyncIterator[None]:
        subscribe = self._channel.unary_stream(
            _EVENTS,
            request_serializer=cri.SubscribeRequest.SerializeToString,
            response_deserializer=cri.EventEnvelope.FromString,
        )
        topics = ("/tasks/exit", "/tasks/oom", "/tasks/start", "/containers/delete")
        filters = [f'namespace==k8s.io,topic=="{topic}"' for topic in topics]
        try:
            async for _ in subscribe(cri.SubscribeRequest(filters=filters)):
                yield None
        except grpc.aio.AioRpcError as error:
            raise RuntimeFault(error.details() or str(error.code()), error.code().name) from error

    async def _gone_is_fine(self, path: str, request: Any, answer: Any, seconds: float = CALL_SECONDS) -> None:
        try:
            await self._call(path, request, answer, seconds)
        except RuntimeFault as fault:
            if fault.code != "NOT_FOUND":
                raise


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


def _sandbox_config(spec: SandboxSpec) -> Any:
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


def _resources(resources: LinuxResources) -> Any:
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


def _container_config(spec: ContainerSpec) -> Any:
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
        linux=cri.LinuxContainerConfig(resources=_resources(spec.resources), security_context=_security(spec.security)),
    )


def _sandbox(item: Any, ips: Iterable[str]) -> Sandbox:
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


def _container(status: Any) -> Container:
    return Container(
        id=status.id,
        sandbox_id="",
        name=status.labels.get(CONTAINER_NAME_LABEL, status.metadata.name),
        attempt=status.metadata.attempt,
        state=_STATES.get(status.state, ContainerState.UNKNOWN),
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


def _image(image: Any) -> Image:
    return Image(
        id=image.id,
        tags=tuple(image.repo_tags),
        digests=tuple(image.repo_digests),
        size=image.size,
        uid=image.uid.value if image.HasField("uid") else None,
        username=image.username,
        pinned=image.pinned,
    )

"""
CRI v1 over gRPC on the runtime's unix socket.

With cri_messages.py the only module that knows the CRI; everybody else sees the dataclasses of runtime.py.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from cluster.kubelet.cri_messages import (
    container_config,
    linux_resources,
    read_container,
    read_image,
    read_sandbox,
    sandbox_config,
    state_of,
)
from cluster.kubelet.generated import cri_pb2 as cri
from cluster.kubelet.runtime import (
    CONTAINER_NAME_LABEL,
    POD_UID_LABEL,
    Container,
    ContainerSpec,
    ContainerSummary,
    ContainerUsage,
    ExecResult,
    FilesystemUsage,
    Image,
    LinuxResources,
    RegistryCredentials,
    RuntimeCondition,
    RuntimeFault,
    RuntimeVersion,
    Sandbox,
    SandboxSpec,
)
from cluster.machinery.grpc.channel import Channel
from cluster.machinery.grpc.errors import GrpcError

_RUNTIME = "/runtime.v1.RuntimeService/"
_IMAGES = "/runtime.v1.ImageService/"
_EVENTS = "/containerd.services.events.v1.Events/Subscribe"

# Answers carry whole labels and annotations: a list of 500 containers passes grpc's 4 MiB. Upstream: 16 MiB.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
CALL_SECONDS = 120.0
"""Upstream's --runtime-request-timeout is 2 min; pulls, stops and execs have their own."""
PULL_SECONDS = 30 * 60.0


class CriRuntime:
    """One connection to the runtime; `async with` closes it."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is unix:///path."""
        self.endpoint = endpoint
        self._channel = Channel(endpoint, max_message=MAX_MESSAGE_BYTES)

    async def __aenter__(self) -> "CriRuntime":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channel.close()

    async def _call(self, path: str, request: Any, answer: Any, seconds: float | None = CALL_SECONDS) -> Any:
        try:
            found = answer.FromString(await self._channel.unary(path, request.SerializeToString(), seconds))
        except GrpcError as error:
            raise RuntimeFault(error.details or error.code, error.code) from error
        except DecodeError as error:
            raise RuntimeFault(f"the runtime's answer to {path} is no message: {error}", "INTERNAL") from error
        return found

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
        request = cri.RunPodSandboxRequest(config=sandbox_config(spec), runtime_handler=spec.runtime_handler)
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
        return read_sandbox(status, ips)

    async def list_sandboxes(self, pod_uid: str = "") -> Sequence[Sandbox]:
        labels = {POD_UID_LABEL: pod_uid} if pod_uid else {}
        request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector=labels))
        answer = await self._call(_RUNTIME + "ListPodSandbox", request, cri.ListPodSandboxResponse)
        return [read_sandbox(item, ()) for item in answer.items]

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str:
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=container_config(spec), sandbox_config=sandbox_config(sandbox)
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
                state=state_of(c.state),
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
        return read_container(answer.status)

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None:
        request = cri.UpdateContainerResourcesRequest(container_id=container_id, linux=linux_resources(resources))
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
        return [read_image(image) for image in answer.images]

    async def image_status(self, reference: str) -> Image | None:
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=reference))
        answer = await self._call(_IMAGES + "ImageStatus", request, cri.ImageStatusResponse)
        return read_image(answer.image) if answer.HasField("image") else None

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
        topics = ("/tasks/exit", "/tasks/oom", "/tasks/start", "/containers/delete")
        request = cri.SubscribeRequest(filters=[f'namespace==k8s.io,topic=="{topic}"' for topic in topics])
        try:
            stream = await self._channel.stream(_EVENTS, request.SerializeToString(), CALL_SECONDS, ends=True)
            try:
                async for _ in stream:
                    yield None
            finally:
                stream.cancel()
        except GrpcError as error:
            raise RuntimeFault(error.details or error.code, error.code) from error

    async def _gone_is_fine(self, path: str, request: Any, answer: Any, seconds: float = CALL_SECONDS) -> None:
        try:
            await self._call(path, request, answer, seconds)
        except RuntimeFault as fault:
            if fault.code != "NOT_FOUND":
                raise

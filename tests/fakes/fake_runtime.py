"""
A container runtime in memory, for tests of whatever stands on `cluster.kubelet.runtime.ContainerRuntime`.

It runs nothing: containers run until a test (or `stop_container`) ends them. The contract test
tests/integration/test_kubelet_runtime_contract.py holds it to what the real runtime does.
"""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from cluster.kubelet.runtime import (
    POD_UID_LABEL,
    Container,
    ContainerSpec,
    ContainerState,
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


@dataclass
class FakeRuntime:
    images: dict[str, Image] = field(default_factory=dict)
    """Reference -> image: what is present; `remote` is what a pull can bring."""
    remote: dict[str, Image] = field(default_factory=dict)
    sandboxes: dict[str, Sandbox] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)
    network_ready: bool = True
    pod_cidr: str = ""
    exec_result: ExecResult = field(default_factory=lambda: ExecResult(b"", b"", 0))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, container_id: str, exit_code: int, reason: str = "") -> None:
        """A container's process ends by itself."""
        run = self._container(container_id)
        self.containers[container_id] = dataclasses.replace(
            run, state=ContainerState.EXITED, finished_at=time.time_ns(), exit_code=exit_code, reason=reason
        )
        self._changed.set()

    def _container(self, container_id: str) -> Container:
        if container_id not in self.containers:
            raise RuntimeFault(f"container {container_id} not found", "NOT_FOUND")
        return self.containers[container_id]

    async def version(self) -> RuntimeVersion:
        return RuntimeVersion("fake", "1.0.0", "v1")

    async def conditions(self) -> Sequence[RuntimeCondition]:
        network = RuntimeCondition("NetworkReady", self.network_ready, "" if self.network_ready else "NoCni", "")
        return [RuntimeCondition("RuntimeReady", True, "", ""), network]

    async def set_pod_cidr(self, cidr: str) -> None:
        self.pod_cidr = cidr

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        number = next(self._numbers)
        sandbox_id = f"sandbox{number}"
        self.sandboxes[sandbox_id] = Sandbox(
            sandbox_id, spec.name, spec.namespace, spec.uid, spec.attempt, True, time.time_ns(), (f"10.0.0.{number}",)
        )
        return sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        for run in [c for c in self.containers.values() if c.sandbox_id == sandbox_id]:
            await self.stop_container(run.id, 0)
        self.sandboxes[sandbox_id] = dataclasses.replace(sandbox, ready=False, ips=())

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        self.sandboxes.pop(sandbox_id, None)
        self.containers = {k: c for k, c in self.containers.items() if c.sandbox_id != sandbox_id}

    async def sandbox_status(self, sandbox_id: str) -> Sandbox | None:
        return self.sandboxes.get(sandbox_id)

    async def list_sandboxes(self, pod_uid: str = "") -> Sequence[Sandbox]:
        return [dataclasses.replace(s, ips=()) for s in self.sandboxes.values() if pod_uid in ("", s.uid)]

    async def create_container(self, sandbox_id: str, spec: ContainerSpec, sandbox: SandboxSpec) -> str:
        if sandbox_id not in self.sandboxes:
            raise RuntimeFault(f"sandbox {sandbox_id} not found", "NOT_FOUND")
        if not any(image.id == spec.image for image in self.images.values()):
            raise RuntimeFault(f"image {spec.image} not found", "NOT_FOUND")
        container_id = f"container{next(self._numbers)}"
        self.specs[container_id] = spec
        self.containers[container_id] = Container(
            id=container_id,
            sandbox_id=sandbox_id,
            name=spec.name,
            attempt=spec.attempt,
            state=ContainerState.CREATED,
            created_at=time.time_ns(),
            image=spec.image,
            image_id=spec.image,
            labels=dict(spec.labels),
            annotations=dict(spec.annotations),
            log_path=f"{sandbox.log_directory}/{spec.log_path}",
            mounts=spec.mounts,
        )
        return container_id

    async def start_container(self, container_id: str) -> None:
        run = self._container(container_id)
        self.containers[container_id] = dataclasses.replace(
            run, state=ContainerState.RUNNING, started_at=time.time_ns()
        )

    async def stop_container(self, container_id: str, grace: int) -> None:
        run = self.containers.get(container_id)
        if run is not None and run.state is ContainerState.RUNNING:
            self.end(container_id, 137, "Error")

    async def remove_container(self, container_id: str) -> None:
        self.containers.pop(container_id, None)

    async def list_containers(self, pod_uid: str = "") -> Sequence[ContainerSummary]:
        return [
            ContainerSummary(
                c.id, c.sandbox_id, c.labels.get(POD_UID_LABEL, ""), c.name, c.attempt, c.state, c.created_at
            )
            for c in self.containers.values()
            if pod_uid in ("", c.labels.get(POD_UID_LABEL))
        ]

    async def container_status(self, container_id: str) -> Container | None:
        return self.containers.get(container_id)

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None:
        self._container(container_id)

    async def reopen_log(self, container_id: str) -> None:
        self._container(container_id)

    async def exec_sync(self, container_id: str, command: Sequence[str], seconds: int) -> ExecResult:
        if self._container(container_id).state is not ContainerState.RUNNING:
            raise RuntimeFault("container is not running", "UNKNOWN")
        return self.exec_result

    async def exec_url(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> str:
        raise RuntimeFault("the fake runtime streams nothing", "UNIMPLEMENTED")

    async def attach_url(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        raise RuntimeFault("the fake runtime streams nothing", "UNIMPLEMENTED")

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        raise RuntimeFault("the fake runtime streams nothing", "UNIMPLEMENTED")

    async def usage(self) -> Sequence[ContainerUsage]:
        return []

    async def list_images(self) -> Sequence[Image]:
        return list({image.id: image for image in self.images.values()}.values())

    async def image_status(self, reference: str) -> Image | None:
        by_id = next((image for image in self.images.values() if image.id == reference), None)
        return self.images.get(reference) or by_id

    async def pull_image(self, reference: str, credentials: RegistryCredentials | None) -> str:
        if reference not in self.remote:
            raise RuntimeFault(f"failed to resolve reference {reference}", "NOT_FOUND")
        self.images[reference] = self.remote[reference]
        return self.images[reference].id

    async def remove_image(self, reference: str) -> None:
        self.images = {k: i for k, i in self.images.items() if reference not in (k, i.id)}

    async def image_filesystem(self) -> FilesystemUsage | None:
        return None

    async def events(self) -> AsyncIterator[None]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield None

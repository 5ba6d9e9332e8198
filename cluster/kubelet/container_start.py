"""
Starting one container of a pod: image, environment, mounts, create, start, postStart.

Called by pod_worker.py. Ends with the container running or with `StartFailed`, whose reason the status shows.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.api import resources
from cluster.kubelet.api_objects import Reference
from cluster.kubelet.container_specs import (
    ConfigurationError,
    ContainerInputs,
    container_spec,
)
from cluster.kubelet.environment import MissingReference, PodFacts, container_environment, service_variables
from cluster.kubelet.handlers import HandlerFailed
from cluster.kubelet.images import ImageFault
from cluster.kubelet.node_context import NodeContext
from cluster.kubelet.pod_network import hosts_file
from cluster.kubelet.pod_plan import Observation, Start
from cluster.kubelet.pods import ContainerKind, log_directory, uid_of, uses_host_network
from cluster.kubelet.runtime import ContainerSpec, ContainerState, Mount, RuntimeFault, SandboxSpec
from cluster.kubelet.volumes import Volume, VolumeFault, container_mounts
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
"""How soon a container that could not be configured or made is tried again."""


class StartFailed(Exception):
    """
    The container does not run. Its status shows reason and message.

    Tried again after `again_in` seconds; None for one that did run: then the crash back-off decides.
    """

    def __init__(self, reason: str, message: str, again_in: float | None = RETRY_SECONDS) -> None:
        super().__init__(message)
        self.reason, self.message, self.again_in = reason, message, again_in


@dataclass(frozen=True, slots=True)
class PodGround:
    """What the containers of one pod stand on: made once a pass."""

    sandbox_id: str
    sandbox: SandboxSpec
    ips: tuple[str, ...]
    volumes: Mapping[str, Volume]
    snapshot: Mapping[Reference, Object | None]
    facts: PodFacts


def field_path(start: Start) -> str:
    """`spec.containers{web}`: how an event names its container."""
    field = {ContainerKind.APP: "containers", ContainerKind.EPHEMERAL: "ephemeralContainers"}
    return f"spec.{field.get(start.container.kind, 'initContainers')}{{{start.container.name}}}"


class ContainerStart:
    def __init__(self, node: NodeContext, pod: Object, ground: PodGround) -> None:
        self.node, self.pod, self.ground = node, pod, ground

    def _event(self, start: Start, kind: str, reason: str, message: str) -> None:
        self.node.recorder.record(self.pod, kind, reason, message, field_path=field_path(start))

    async def run(self, start: Start, observed: Observation) -> None:
        """Raises StartFailed; RuntimeFault when the runtime is not there at all."""
        container = start.container.spec
        namespace = self.pod["metadata"]["namespace"]
        secrets = [
            self.ground.snapshot.get(Reference(resources.SECRETS, namespace, s["name"]))
            for s in self.pod["spec"].get("imagePullSecrets") or ()
            if s.get("name")
        ]
        try:
            image = await self.node.images.ensure(
                container, uid_of(self.pod), secrets, lambda k, r, m: self._event(start, k, r, m)
            )
            env = self._environment(container)
            mounts = await asyncio.to_thread(self._mounts, start, env)
            inputs = ContainerInputs(
                attempt=start.attempt,
                restart_count=start.attempt,
                image=image,
                env=env,
                mounts=mounts,
                target_id=self._target(container, observed),
            )
            spec = container_spec(self.pod, start.container, inputs, self.node.view)
        except ImageFault as fault:
            raise StartFailed(fault.reason, fault.message, fault.again_in or RETRY_SECONDS) from fault
        except (MissingReference, ConfigurationError, VolumeFault, OSError, ValueError) as fault:
            self._event(start, "Warning", "Failed", f"Error: {fault}")
            raise StartFailed("CreateContainerConfigError", str(fault)) from fault
        await self._create(start, spec)

    async def _create(self, start: Start, spec: ContainerSpec) -> None:
        directory = Path(log_directory(self.node.settings.log_dir, self.pod)) / Path(spec.log_path).parent
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        runtime = self.node.runtime
        try:
            container_id = await runtime.create_container(self.ground.sandbox_id, spec, self.ground.sandbox)
        except RuntimeFault as fault:
            self._event(start, "Warning", "Failed", f"Error: {fault.message}")
            raise StartFailed("CreateContainerError", fault.message) from fault
        self._event(start, "Normal", "Created", f"Created container: {start.container.name}")
        try:
            await runtime.start_container(container_id)
        except RuntimeFault as fault:
            self._event(start, "Warning", "Failed", f"Error: {fault.message}")
            raise StartFailed("RunContainerError", fault.message, await self._retry_after(container_id)) from fault
        self._event(start, "Normal", "Started", f"Started container {start.container.name}")
        hook = (start.container.spec.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._post_start(start, hook, container_id)

    async def _retry_after(self, container_id: str) -> float | None:
        """A runtime that notes the failed start as an end leaves it to the crash back-off."""
        run = await self.node.runtime.container_status(container_id)
        return None if run is not None and run.state is ContainerState.EXITED else RETRY_SECONDS

    async def _post_start(self, start: Start, hook: Object, container_id: str) -> None:
        ip = self.ground.ips[0] if self.ground.ips else "127.0.0.1"
        try:
            await self.node.handlers.run(hook, start.container.spec, container_id, ip, 0)
        except HandlerFailed as failure:
            self._event(start, "Warning", "FailedPostStartHook", f"PostStartHook failed: {failure}")
            await self.node.runtime.stop_container(container_id, 2)
            raise StartFailed("PostStartHookError", f"PostStartHook failed: {failure}", None) from failure

    def _target(self, container: Object, observed: Observation) -> str:
        """The container whose processes an ephemeral container is to see."""
        name = container.get("targetContainerName")
        if not name:
            return ""
        run = observed.latest(name)
        if run is None:
            raise ConfigurationError(f"unable to find target container {name}")
        return run.id

    def _environment(self, container: Object) -> dict[str, str]:
        services = self.node.services()
        if services is None:
            raise MissingReference("services have not yet been read at least once, cannot construct envvars")
        namespace = self.pod["metadata"]["namespace"]
        links = self.pod["spec"].get("enableServiceLinks")
        return container_environment(
            self.pod,
            container,
            self.ground.facts,
            services=service_variables(services, namespace, links=links is None or bool(links)),
            config_maps=lambda name: self.ground.snapshot.get(Reference(resources.CONFIG_MAPS, namespace, name)),
            secrets=lambda name: self.ground.snapshot.get(Reference(resources.SECRETS, namespace, name)),
        )

    def _mounts(self, start: Start, env: Mapping[str, str]) -> tuple[Mount, ...]:
        """Volumes, /etc/hosts and the termination message file. Blocking."""
        container = start.container.spec
        group = (self.pod["spec"].get("securityContext") or {}).get("fsGroup")
        pod_dir = self.node.volumes.pod_dir(uid_of(self.pod))
        mounts = list(container_mounts(container, self.ground.volumes, env, group, pod_dir))
        taken = {mount.container_path for mount in mounts}
        if "/etc/hosts" not in taken:
            mounts.append(Mount("/etc/hosts", str(self._hosts_file(pod_dir))))
        last_words = container.get("terminationMessagePath") or "/dev/termination-log"
        if last_words not in taken:
            file = pod_dir / "containers" / start.container.name / str(start.attempt)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"")
            file.chmod(0o666)  # any user in the container may leave last words
            mounts.append(Mount(last_words, str(file)))
        return tuple(mounts)

    def _hosts_file(self, pod_dir: Path) -> Path:
        node_hosts = Path("/etc/hosts").read_text(errors="replace") if uses_host_network(self.pod) else ""
        text = hosts_file(self.pod, self.ground.ips, self.node.settings.cluster_domain, node_hosts)
        file = pod_dir / "etc-hosts"
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o644)
        return file

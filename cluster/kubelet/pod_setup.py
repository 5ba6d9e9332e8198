"""
What a pod's containers stand on: objects from the API, volumes, cgroup, log directory and sandbox.

Called by pod_worker.py when there is something to start; container_start.py takes it from there.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from cluster.kubelet.api_objects import Reference
from cluster.kubelet.container_specs import sandbox_spec
from cluster.kubelet.container_start import PodGround
from cluster.kubelet.environment import PodFacts
from cluster.kubelet.node_context import NodeContext
from cluster.kubelet.pod_network import pod_dns
from cluster.kubelet.pod_plan import Observation, PodPlan
from cluster.kubelet.pods import log_directory, uses_host_network
from cluster.kubelet.runtime import RuntimeFault, Sandbox, SandboxSpec
from cluster.kubelet.volumes import VolumeFault
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError

NETWORK_RETRY_SECONDS = 1.0
SETUP_RETRY_SECONDS = 5.0


class SetupFailed(Exception):
    """Nothing of the pod can start yet: an Event says why. Tried again after `again_in` seconds."""

    def __init__(self, message: str, again_in: float = SETUP_RETRY_SECONDS) -> None:
        super().__init__(message)
        self.again_in = again_in


class PodSetup:
    def __init__(self, node: NodeContext) -> None:
        self._node = node

    def _event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        self._node.recorder.record(pod, kind, reason, message)

    async def ground(self, pod: Object, plan: PodPlan, observed: Observation) -> PodGround:
        """Make what is missing. Raises SetupFailed; RuntimeFault, ApiError when one of them does not answer."""
        node = self._node
        snapshot: Mapping[Reference, Object | None] = {}
        if node.objects is not None:
            snapshot = await node.objects.snapshot(pod)
        fault = node.network_fault()
        if fault and not uses_host_network(pod):
            self._event(pod, "Warning", "NetworkNotReady", f"network is not ready: {fault}")
            raise SetupFailed(f"network is not ready: {fault}", NETWORK_RETRY_SECONDS)
        sandbox = observed.sandbox
        ips = sandbox.ips if sandbox is not None and sandbox.ready else ()
        try:
            volumes = await node.volumes.set_up(pod, self._facts(pod, ips), snapshot)
        except (VolumeFault, ApiError) as volume_fault:
            self._event(pod, "Warning", "FailedMount", str(volume_fault))
            raise SetupFailed(str(volume_fault)) from volume_fault
        spec = self._sandbox_spec(pod, plan.sandbox_attempt)
        if plan.new_sandbox or sandbox is None:
            sandbox = await self._new_sandbox(pod, spec, observed)
            # Downward API files may tell the address, which is known only now.
            await node.volumes.set_up(pod, self._facts(pod, sandbox.ips), snapshot)
        ips = node.host_ips if uses_host_network(pod) else sandbox.ips
        return PodGround(sandbox.id, spec, ips, volumes, snapshot, self._facts(pod, sandbox.ips))

    async def refresh_volumes(self, pod: Object, observed: Observation) -> None:
        """Bring the files of a running pod up to date. Raises ApiError, VolumeFault, OSError, ValueError."""
        sandbox = observed.sandbox
        if sandbox is None or not sandbox.ready or self._node.objects is None:
            return
        snapshot = await self._node.objects.snapshot(pod)
        await self._node.volumes.refresh(pod, self._facts(pod, sandbox.ips), snapshot)

    def _facts(self, pod: Object, ips: tuple[str, ...]) -> PodFacts:
        own = self._node.host_ips if uses_host_network(pod) else ips
        return PodFacts(self._node.host_ips, own, self._node.settings.node_name, self._node.allocatable)

    def _sandbox_spec(self, pod: Object, attempt: int) -> SandboxSpec:
        settings = self._node.settings
        dns = pod_dns(pod, self._node.node_dns(), settings.cluster_dns, settings.cluster_domain)
        return sandbox_spec(pod, attempt, dns, self._node.cgroups.parent_of(pod), self._node.view)

    async def _new_sandbox(self, pod: Object, spec: SandboxSpec, observed: Observation) -> Sandbox:
        node = self._node
        if observed.sandboxes:
            message = "Pod sandbox changed, it will be killed and re-created."
            self._event(pod, "Normal", "SandboxChanged", message)
        for old in observed.sandboxes:
            await node.runtime.stop_sandbox(old.id)
        await asyncio.to_thread(node.cgroups.ensure, pod)
        directory = Path(log_directory(node.settings.log_dir, pod))
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        try:
            sandbox_id = await node.runtime.run_sandbox(spec)
        except RuntimeFault as fault:
            message = f"Failed to create pod sandbox: {fault.message}"
            self._event(pod, "Warning", "FailedCreatePodSandBox", message)
            raise SetupFailed(f"cannot make a sandbox: {fault.message}") from fault
        sandbox = await node.runtime.sandbox_status(sandbox_id)
        if sandbox is None:
            raise SetupFailed("the sandbox vanished as it was made", NETWORK_RETRY_SECONDS)
        return sandbox

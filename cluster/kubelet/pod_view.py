"""
What the runtime holds of one pod, looked at and remembered: exited runs, addresses, last words.

Called by pod_worker.py before and after it acts.
"""

import asyncio
import dataclasses
from pathlib import Path

from cluster.kubelet.housekeeping import old_logs
from cluster.kubelet.node_context import NodeContext
from cluster.kubelet.pod_plan import Observation, observe
from cluster.kubelet.pods import uid_of, uses_host_network
from cluster.kubelet.remembered import with_remembered
from cluster.kubelet.runtime import Container, ContainerState, Sandbox
from cluster.kubelet.termination_message import read_termination_message
from cluster.machinery.objects import Object

KEPT_RUNS = 2
"""Of each container: the latest, and the one before for `kubectl logs --previous`."""


class PodView:
    def __init__(self, node: NodeContext) -> None:
        self._node = node
        self.observed = Observation()
        self.messages: dict[str, str] = {}
        """Container id -> termination message."""
        self._exited: dict[str, Container] = {}
        self._sandboxes: dict[str, Sandbox] = {}

    @property
    def ip(self) -> str:
        """The pod's first address; empty without a sandbox that has one."""
        sandbox = self.observed.sandbox
        return sandbox.ips[0] if sandbox is not None and sandbox.ips else ""

    async def look(self, pod: Object) -> None:
        """Raises RuntimeFault."""
        runtime, uid = self._node.runtime, uid_of(pod)
        sandboxes = [await self._with_address(pod, s) for s in await runtime.list_sandboxes(uid)]
        containers = []
        for summary in await runtime.list_containers(uid):
            known = self._exited.get(summary.id)
            if known is None:
                full = await runtime.container_status(summary.id)
                if full is None:
                    continue
                known = dataclasses.replace(full, sandbox_id=summary.sandbox_id)
                if known.state is ContainerState.EXITED:
                    await self._note_exit(known)
            containers.append(known)
        self.observed = with_remembered(pod, observe(sandboxes, containers))

    async def _note_exit(self, run: Container) -> None:
        self._exited[run.id] = run
        text = await asyncio.to_thread(read_termination_message, run)
        if text:
            self.messages[run.id] = text

    async def _with_address(self, pod: Object, sandbox: Sandbox) -> Sandbox:
        """Addresses come with a status only; a ready sandbox keeps what it has."""
        if not sandbox.ready or uses_host_network(pod):
            return sandbox
        known = self._sandboxes.get(sandbox.id)
        if known is None or not known.ips:
            status = await self._node.runtime.sandbox_status(sandbox.id)
            if status is None:
                return dataclasses.replace(sandbox, ready=False)
            self._sandboxes[sandbox.id] = known = status
        return dataclasses.replace(sandbox, ips=known.ips)

    async def prune(self) -> None:
        """Drop dead runs but the last two of each container, and sandboxes of long ago. Raises RuntimeFault."""
        seen: dict[str, int] = {}
        kept_sandboxes = {s.id for s in self.observed.sandboxes[:1]}
        for run in self.observed.containers:
            seen[run.name] = seen.get(run.name, 0) + 1
            if seen[run.name] > KEPT_RUNS and run.state is ContainerState.EXITED and run.id:
                await self._node.runtime.remove_container(run.id)
                self._exited.pop(run.id, None)
                self.messages.pop(run.id, None)
                await asyncio.to_thread(_remove_log, Path(run.log_path))
            else:
                kept_sandboxes.add(run.sandbox_id)
        for sandbox in self.observed.sandboxes:
            if sandbox.id not in kept_sandboxes and not sandbox.ready:
                await self._node.runtime.remove_sandbox(sandbox.id)


def _remove_log(path: Path) -> None:
    for file in (path, *old_logs(path)):
        file.unlink(missing_ok=True)

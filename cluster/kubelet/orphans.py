"""
Takes away what earlier kubelets left of pods that exist no more: containers, sandboxes, volumes, cgroups, logs.
"""

import asyncio
import logging
import shutil
from pathlib import Path

from cluster.kubelet.container_stop import stop_all
from cluster.kubelet.node_context import NodeContext
from cluster.kubelet.runtime import GRACE_PERIOD_ANNOTATION, Container
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)


async def remove_orphan(node: NodeContext, uid: str) -> None:
    """Raises RuntimeFault, VolumeFault, OSError: try again later."""
    runtime = node.runtime
    sandboxes = await runtime.list_sandboxes(uid)
    running: list[Container] = []
    for summary in await runtime.list_containers(uid):
        full = await runtime.container_status(summary.id)
        if full is not None:
            running.append(full)
    log.info("pod %s is no more: ending its %d containers and %d sandboxes", uid, len(running), len(sandboxes))
    grace = max((int(r.annotations.get(GRACE_PERIOD_ANNOTATION) or 30) for r in running), default=0)
    await stop_all(node, None, running, grace=grace, ip="", record=lambda *_: None)
    for sandbox in sandboxes:
        await runtime.stop_sandbox(sandbox.id)
    for run in running:
        await runtime.remove_container(run.id)
    for sandbox in sandboxes:
        await runtime.remove_sandbox(sandbox.id)
        directory = Path(node.settings.log_dir) / f"{sandbox.namespace}_{sandbox.name}_{uid}"
        await asyncio.to_thread(shutil.rmtree, directory, True)
    await asyncio.to_thread(node.volumes.tear_down, uid)
    for quality in ("Guaranteed", "Burstable", "BestEffort"):
        ghost: Object = {"metadata": {"uid": uid}, "spec": {}, "status": {"qosClass": quality}}
        await asyncio.to_thread(node.cgroups.remove, ghost)


def pods_on_disk(pods_dir: Path) -> set[str]:
    """uids with a directory here. Blocking."""
    return {entry.name for entry in pods_dir.iterdir() if entry.is_dir()} if pods_dir.is_dir() else set()

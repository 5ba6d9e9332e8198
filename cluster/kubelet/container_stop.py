"""
Stopping containers: preStop hook, SIGTERM, and SIGKILL when the grace period is over.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import orjson

from cluster.kubelet.handlers import HandlerFailed
from cluster.kubelet.node_context import NodeContext
from cluster.kubelet.pods import ContainerKind, find_container
from cluster.kubelet.runtime import (
    CONTAINER_TYPE_ANNOTATION,
    PRE_STOP_ANNOTATION,
    Container,
    ContainerState,
)
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

LEAST_GRACE = 2
"""Seconds a container gets after its hook has used up all. Source: upstream minimumGracePeriodInSeconds."""

Recorder = Callable[[str, str, str, str], None]
"""(container name, type, reason, message)."""


async def stop_container(
    node: NodeContext, pod: Object | None, run: Container, *, grace: int, message: str, ip: str, record: Recorder
) -> None:
    """
    End one container. `pod` is None for an orphan: its hook then comes from the runtime's annotation.

    Raises RuntimeFault.
    """
    if run.state not in (ContainerState.RUNNING, ContainerState.UNKNOWN):
        return
    record(run.name, "Normal", "Killing", message)
    began = time.monotonic()
    hook = orjson.loads(run.annotations.get(PRE_STOP_ANNOTATION) or "null")
    if hook and grace > 0 and run.state is ContainerState.RUNNING:
        found = find_container(pod, run.name) if pod is not None else None
        spec: Object = found.spec if found is not None else {"name": run.name}
        try:
            async with asyncio.timeout(grace):
                await node.handlers.run(hook, spec, run.id, ip, grace)
        except TimeoutError:
            log.warning("preStop hook of %s used up its %d s", run.name, grace)
        except HandlerFailed as failure:
            record(run.name, "Warning", "FailedPreStopHook", f"PreStopHook failed: {failure}")
        left = grace - int(time.monotonic() - began)
        await node.runtime.stop_container(run.id, max(left, LEAST_GRACE))
        return
    await node.runtime.stop_container(run.id, grace)


async def stop_all(
    node: NodeContext, pod: Object | None, running: Sequence[Container], *, grace: int, ip: str, record: Recorder
) -> None:
    """App containers together, then sidecars in reverse order, all within one grace period. Raises RuntimeFault."""
    began = time.monotonic()

    async def stop(run: Container) -> None:
        left = max(0 if grace == 0 else 1, grace - int(time.monotonic() - began))
        message = f"Stopping container {run.name}"
        await stop_container(node, pod, run, grace=left, message=message, ip=ip, record=record)

    sidecars = [r for r in running if r.annotations.get(CONTAINER_TYPE_ANNOTATION) == ContainerKind.SIDECAR]
    others = [r for r in running if r not in sidecars]
    await asyncio.gather(*(stop(run) for run in others))
    order = [c["name"] for c in (pod or {"spec": {}})["spec"].get("initContainers") or ()]
    for run in sorted(sidecars, key=lambda r: order.index(r.name) if r.name in order else -1, reverse=True):
        await stop(run)

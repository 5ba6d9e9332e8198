"""
The end of a pod on this host: its containers stopped within the grace period, its remains taken away, the API told.

Called by pod_worker.py. Every step may be done again after a failure.
"""

import asyncio
import contextlib
import shutil
from pathlib import Path

from cluster.api import resources
from cluster.kubelet.container_stop import Recorder, stop_all
from cluster.kubelet.node_context import NodeContext
from cluster.kubelet.pod_view import PodView
from cluster.kubelet.pods import grace_period, log_directory, uid_of
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound


class GracePeriod:
    """How long the containers have: what the pod says, or less, also while they are being stopped."""

    def __init__(self) -> None:
        self._seconds: int | None = None
        self.shortened = asyncio.Event()

    def limit(self, seconds: int) -> None:
        if self._seconds is None or seconds < self._seconds:
            if self._seconds is not None:
                self.shortened.set()
            self._seconds = seconds

    def of(self, pod: Object) -> int:
        """Seconds; at least one, so that a container may hear its SIGTERM."""
        return max(1, grace_period(pod) if self._seconds is None else self._seconds)


async def stop_pod(node: NodeContext, pod: Object, view: PodView, grace: GracePeriod, record: Recorder) -> None:
    """Until nothing of the pod runs; begins anew when the grace period is cut. Raises RuntimeFault."""
    await view.look(pod)
    while view.observed.running:
        grace.shortened.clear()
        running = view.observed.running
        stopping = asyncio.ensure_future(
            stop_all(node, pod, running, grace=grace.of(pod), ip=view.ip, record=record)
        )  # fmt: skip
        shortened = asyncio.ensure_future(grace.shortened.wait())
        try:
            await asyncio.wait({stopping, shortened}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                stopping.result()
        finally:
            stopping.cancel()
            shortened.cancel()
            await asyncio.gather(stopping, shortened, return_exceptions=True)
        await view.look(pod)
    for sandbox in view.observed.sandboxes:
        await node.runtime.stop_sandbox(sandbox.id)
    await view.look(pod)


async def remove_remains(node: NodeContext, pod: Object, view: PodView) -> None:
    """Containers, sandboxes, logs. Raises RuntimeFault."""
    for run in view.observed.containers:
        if run.id:
            await node.runtime.remove_container(run.id)
    for sandbox in view.observed.sandboxes:
        await node.runtime.remove_sandbox(sandbox.id)
    directory = Path(log_directory(node.settings.log_dir, pod))
    await asyncio.to_thread(shutil.rmtree, directory, True)
    if node.objects is not None:
        node.objects.forget(uid_of(pod))


async def confirm_deletion(node: NodeContext, pod: Object, status: Object) -> None:
    """Tell the API that nothing runs any more, so that it lets go of the object. Raises ApiError."""
    await node.statuses.write_now(pod, status)
    node.statuses.forget(uid_of(pod))
    if node.client is None:
        return
    metadata = pod["metadata"]
    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid_of(pod)}}
    with contextlib.suppress(NotFound):
        await node.client.delete(resources.PODS, metadata["name"], namespace=metadata["namespace"], options=options)

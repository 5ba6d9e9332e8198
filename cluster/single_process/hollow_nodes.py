"""
Nodes without machines: they are Ready, and the Pods that are bound to them say that they run until they are deleted.

Nothing is started anywhere. For tests of what happens in the API: scheduling, controllers, operators.
"""

import asyncio
import datetime as dt
import logging

from cluster.api import resources
from cluster.client.controller import Controller
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError, NotFound
from cluster.machinery.timestamps import format_micro_time, format_time

log = logging.getLogger(__name__)

RENEW_SECONDS = 10.0
"""As a kubelet renews its Lease."""
LEASE_SECONDS = 40
LEASES_NAMESPACE = "kube-node-lease"
_ROOM = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}


class HollowNodes:
    """node-1, node-2, … of a control plane; `run` in a task."""

    def __init__(self, client: ApiClient, number: int) -> None:
        self._client = client
        self._names = [f"node-{index + 1}" for index in range(number)]
        self._pods = Informer(client, resources.PODS)
        self._controller = Controller("hollow-nodes", self._reconcile)
        self._pods.add_handler(self._controller.enqueue, lambda _, new: self._controller.enqueue(new))

    async def run(self) -> None:
        """Until cancelled."""
        for name in self._names:
            await self._register(name)
        log.info("%d hollow nodes are ready", len(self._names))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run(), name="hollow pods")
            tasks.create_task(self._controller.run(), name="hollow kubelets")
            tasks.create_task(self._renew_for_ever(), name="hollow leases")

    async def _register(self, name: str) -> None:
        try:
            await self._client.create(resources.NODES, node(name))
        except AlreadyExists:
            log.debug("node %s is there already", name)
        await self._client.patch(
            resources.NODES, name, {"status": node_status(name, dt.datetime.now(dt.UTC))}, subresource="status"
        )

    async def _renew_for_ever(self) -> None:
        while True:
            for name in self._names:
                try:
                    await self._renew(name)
                except ApiError as error:
                    log.warning("the Lease of node %s is not renewed: %s", name, error)
            await asyncio.sleep(RENEW_SECONDS)

    async def _renew(self, name: str) -> None:
        spec: Object = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": format_micro_time(dt.datetime.now(dt.UTC)),
        }
        try:
            await self._client.patch(resources.LEASES, name, {"spec": spec}, namespace=LEASES_NAMESPACE)
        except NotFound:
            metadata = {"name": name, "namespace": LEASES_NAMESPACE}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            await self._client.create(resources.LEASES, lease)

    async def _reconcile(self, key: Key) -> None:
        pod = self._pods.get(key)
        if pod is None or pod["spec"].get("nodeName") not in self._names:
            return
        namespace, name = key_of(pod)
        try:
            if "deletionTimestamp" in pod["metadata"]:
                options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
                await self._client.delete(resources.PODS, name, namespace=namespace, options=options)
            elif (pod.get("status") or {}).get("phase", "Pending") == "Pending":
                running = copy_object(pod)
                running["status"] = {**(pod.get("status") or {}), **running_status(pod, dt.datetime.now(dt.UTC))}
                await self._client.update(resources.PODS, running, subresource="status")
        except NotFound:
            log.debug("pod %s/%s is gone already", namespace, name)


def node(name: str) -> Object:
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def node_status(name: str, now: dt.datetime) -> Object:
    moment = format_time(now)
    times = {"lastHeartbeatTime": moment, "lastTransitionTime": moment}
    healthy = [
        {"type": kind, "status": "False", "reason": "HollowNode", "message": "there is no machine", **times}
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    ready = {"type": "Ready", "status": "True", "reason": "HollowNode", "message": "there is no machine", **times}
    return {
        "capacity": _ROOM,
        "allocatable": _ROOM,
        "conditions": [*healthy, ready],
        "addresses": [{"type": "Hostname", "address": name}],
    }


def running_status(pod: Object, now: dt.datetime) -> Object:
    """What a kubelet would report of a Pod whose containers have all started."""
    moment = format_time(now)
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": moment}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    containers = [
        {
            "name": container["name"],
            "image": container.get("image", ""),
            "imageID": container.get("image", ""),
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": moment}},
        }
        for container in pod["spec"]["containers"]
    ]
    return {"phase": "Running", "startTime": moment, "conditions": conditions, "containerStatuses": containers}

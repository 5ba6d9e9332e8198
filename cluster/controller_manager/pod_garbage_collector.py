"""
Delete Pods that nobody else will: on Nodes that are gone, terminating without a Node, finished beyond the limit.

The three choices are pure. Source: kube-controller-manager, pkg/controller/podgc.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence

from cluster.api import resources
from cluster.controller_manager.context import Context
from cluster.controller_manager.pods import is_terminal
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError, NotFound

log = logging.getLogger(__name__)

PERIOD = 20.0  # seconds
QUARANTINE = 40.0  # seconds a missing Node must stay missing before its Pods go


def finished_beyond(pods: Sequence[Object], threshold: int) -> list[Object]:
    """The oldest finished Pods over the limit."""
    finished = sorted(
        (p for p in pods if is_terminal(p)), key=lambda p: (p["metadata"].get("creationTimestamp") or "", key_of(p))
    )
    surplus = len(finished) - threshold
    return finished[:surplus] if threshold and surplus > 0 else []


def never_placed(pods: Sequence[Object]) -> list[Object]:
    """Terminating Pods that no kubelet will ever finish."""
    return [p for p in pods if p["metadata"].get("deletionTimestamp") and not p["spec"].get("nodeName")]


def on_missing_nodes(pods: Sequence[Object], nodes: Collection[str]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        name = pod["spec"].get("nodeName")
        if name and name not in nodes:
            found.setdefault(name, []).append(pod)
    return found


class PodGarbageCollector:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._threshold = context.settings.terminated_pod_gc_threshold
        self._pods = context.informers.of(resources.PODS)
        self._nodes = context.informers.of(resources.NODES)
        self._missing_since: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            await self.collect(asyncio.get_running_loop().time())
            await asyncio.sleep(PERIOD)

    async def collect(self, now: float) -> None:
        pods = self._pods.list()
        doomed = {key_of(p): p for p in (*finished_beyond(pods, self._threshold), *never_placed(pods))}
        missing = on_missing_nodes(pods, {node["metadata"]["name"] for node in self._nodes.list()})
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}
        for name, stranded in missing.items():
            if now - self._missing_since[name] >= QUARANTINE and await self._is_gone(name):
                doomed |= {key_of(pod): pod for pod in stranded}
        for pod in doomed.values():
            await self._delete(pod)

    async def _is_gone(self, name: str) -> bool:
        if self._nodes.get(Key("", name)) is not None:
            return False
        try:
            await self._client.get(resources.NODES, name)
        except NotFound:
            return True
        except ApiError as error:
            log.warning("node %s could not be asked for: %s", name, error)
        return False

    async def _delete(self, pod: Object) -> None:
        """At once: whoever would stop its containers is not there."""
        namespace, name = key_of(pod)
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        try:
            if not is_terminal(pod) and pod["spec"].get("nodeName"):
                await self._client.patch(
                    resources.PODS, name, {"status": {"phase": "Failed"}}, namespace=namespace, subresource="status"
                )
            await self._client.delete(resources.PODS, name, namespace=namespace, options=options)
        except NotFound:
            return
        except ApiError as error:
            log.warning("pod %s could not be collected: %s", key_of(pod), error)

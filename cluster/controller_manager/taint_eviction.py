"""
Delete Pods from Nodes with NoExecute taints they do not tolerate, now or when their patience ends.

`seconds_left` is pure. Source: kube-controller-manager, pkg/controller/tainteviction.
"""

import datetime
from collections.abc import Sequence

from cluster.api import resources
from cluster.client.controller import Controller, Requeue
from cluster.controller_manager.context import Context, enqueue_all
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import Conflict, NotFound
from cluster.machinery.timestamps import format_time, parse_time
from cluster.machinery.tolerations import tolerates


def no_execute(node: Object) -> list[Object]:
    return [t for t in (node.get("spec") or {}).get("taints") or () if t.get("effect") == "NoExecute"]


def seconds_left(pod: Object, taints: Sequence[Object], now: datetime.datetime) -> float | None:
    """How long the Pod may stay: 0 not at all, None for ever."""
    if not taints:
        return None
    tolerations = pod["spec"].get("tolerations") or ()
    limits: list[float] = []
    for taint in taints:
        matching = [t for t in tolerations if tolerates(t, taint)]
        if not matching:
            return 0.0
        patience = [float(t["tolerationSeconds"]) for t in matching if t.get("tolerationSeconds") is not None]
        if patience:
            added = parse_time(taint["timeAdded"]) if taint.get("timeAdded") else now
            limits.append(max(min(patience), 0.0) - (now - added).total_seconds())
    return max(min(limits), 0.0) if limits else None


class TaintEvictionController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events("taint-eviction-controller")
        self._nodes = context.informers.of(resources.NODES)
        self._pods = context.informers.of(resources.PODS)
        self._pods.add_index("by-node", lambda pod: [pod["spec"].get("nodeName") or ""])
        self.controller = Controller("taint-eviction", self.reconcile, workers=8)
        enqueue_all(self.controller, self._pods)
        self._nodes.add_handler(self._node_tainted, self._node_updated)

    async def run(self) -> None:
        await self.controller.run()

    def _node_tainted(self, node: Object) -> None:
        if no_execute(node):
            self._enqueue_pods(node)

    def _node_updated(self, old: Object, new: Object) -> None:
        if no_execute(old) != no_execute(new):
            self._enqueue_pods(new)

    def _enqueue_pods(self, node: Object) -> None:
        for pod in self._pods.by_index("by-node", node["metadata"]["name"]):
            self.controller.enqueue(pod)

    async def reconcile(self, key: Key) -> Requeue | None:
        pod = self._pods.get(key)
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            return None
        node = self._nodes.get(Key("", pod["spec"].get("nodeName") or ""))
        left = None if node is None else seconds_left(pod, no_execute(node), datetime.datetime.now(datetime.UTC))
        if left is None:
            return None
        if left > 0:
            return Requeue(left)
        self._events.record(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        try:
            await self._note_disruption(pod)
            await self._client.delete(
                resources.PODS,
                key.name,
                namespace=key.namespace,
                options={"preconditions": {"uid": pod["metadata"]["uid"]}},
            )
        except (NotFound, Conflict):
            return None
        return None

    async def _note_disruption(self, pod: Object) -> None:
        namespace, name = key_of(pod)
        entry = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": format_time(datetime.datetime.now(datetime.UTC)),
        }
        patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [entry]}}
        await self._client.patch(
            resources.PODS, name, patch, namespace=namespace, patch_type="strategic", subresource="status"
        )

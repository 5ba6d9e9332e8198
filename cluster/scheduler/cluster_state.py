"""
All Nodes and the Pods on them, as the scheduler sees them: what informers told, plus what it has just decided.

A Pod is *assumed* on its Node from the decision until the watch shows the binding, so that the next Pod does not
get the same room. No I/O.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from cluster.machinery.objects import Object
from cluster.scheduler.node_info import NodeInfo
from cluster.scheduler.pod_info import PodInfo


class ClusterState:
    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.ready: dict[str, NodeInfo] = {}
        """Those whose Node object is known."""
        self._place: dict[str, str] = {}
        self._assumed: set[str] = set()
        self.namespace_labels: dict[str, Mapping[str, str]] = {}
        self.nodes_with_terms: set[str] = set()
        self.zone_owners: Counter[tuple[str, str]] = Counter()
        """How many Pods of an owner are in a zone, by (owner, zone)."""
        self.image_nodes: Counter[str] = Counter()
        """On how many Nodes an image is."""
        self.generation = 0
        self.changes: list[str] = []
        """Name of the Node that changed at each generation."""
        self.nominated: dict[str, tuple[str, PodInfo]] = {}
        """Node that preemption makes room on, by the uid of the Pod it is for."""

    # --- Nodes ---------------------------------------------------------------------------------------------

    def set_node(self, node: Object) -> None:
        name = node["metadata"]["name"]
        info = self.nodes.setdefault(name, NodeInfo(name))
        self._leave_totals(info)
        info.set_node(node)
        self._enter_totals(info)
        self.ready[name] = info
        self._changed(name)

    def remove_node(self, name: str) -> None:
        info = self.nodes.get(name)
        if info is None:
            return
        self._leave_totals(info)
        info.node = None
        self.ready.pop(name, None)
        if not info.pods:
            del self.nodes[name]
        self._changed(name)

    def _leave_totals(self, info: NodeInfo) -> None:
        if info.node is None:
            return
        self.image_nodes.subtract(info.images.keys())
        for owner, count in info.owners.items():
            self.zone_owners[owner, info.zone] -= count

    def _enter_totals(self, info: NodeInfo) -> None:
        self.image_nodes.update(info.images.keys())
        for owner, count in info.owners.items():
            self.zone_owners[owner, info.zone] += count

    # --- Pods ----------------------------------------------------------------------------------------------

    def assume(self, pod: PodInfo, node_name: str) -> None:
        """Count a Pod on the Node it is about to be bound to."""
        self._add(pod, node_name)
        self._assumed.add(pod.uid)

    def forget(self, uid: str) -> None:
        """The binding failed: the room is free again. Does nothing once the watch has shown it bound."""
        if uid in self._assumed:
            self.remove_pod(uid)

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def set_pod(self, pod: PodInfo) -> None:
        """The watch shows a bound Pod; it replaces what was assumed of it."""
        self._assumed.discard(pod.uid)
        known = self._place.get(pod.uid)
        if known is not None:
            before = self.nodes[known].pods[pod.uid]
            if known == pod.node_name and before.requests == pod.requests and before.labels == pod.labels:
                self.nodes[known].pods[pod.uid] = pod  # its status changed; nothing that counts
                return
            self.remove_pod(pod.uid)
        self._add(pod, pod.node_name)

    def remove_pod(self, uid: str) -> None:
        self._assumed.discard(uid)
        name = self._place.pop(uid, None)
        if name is None:
            return
        info = self.nodes[name]
        pod = info.pods[uid]
        info.remove(uid)
        if pod.owner and info.node is not None:
            self.zone_owners[pod.owner, info.zone] -= 1
            if not self.zone_owners[pod.owner, info.zone]:
                del self.zone_owners[pod.owner, info.zone]
        if not info.with_terms:
            self.nodes_with_terms.discard(name)
        if info.node is None and not info.pods:
            del self.nodes[name]
        self._changed(name)

    def _add(self, pod: PodInfo, node_name: str) -> None:
        info = self.nodes.setdefault(node_name, NodeInfo(node_name))
        info.add(pod)
        self._place[pod.uid] = node_name
        if pod.owner and info.node is not None:
            self.zone_owners[pod.owner, info.zone] += 1
        if info.with_terms:
            self.nodes_with_terms.add(node_name)
        self._changed(node_name)

    def nominate(self, pod: PodInfo, node_name: str) -> None:
        self.nominated[pod.uid] = (node_name, pod)
        self._changed(node_name)

    def forget_nomination(self, uid: str) -> None:
        nominated = self.nominated.pop(uid, None)
        if nominated is not None:
            self._changed(nominated[0])

    def nominated_to(self, node_name: str, priority: int, but: str) -> list[PodInfo]:
        """Pods of this priority or more that the Node is being cleared for, other than `but`."""
        return [
            pod
            for uid, (name, pod) in self.nominated.items()
            if name == node_name and uid != but and pod.priority >= priority
        ]

    def bound_pods(self) -> Iterable[tuple[NodeInfo, PodInfo]]:
        for info in self.ready.values():
            for pod in info.pods.values():
                yield info, pod

    def _changed(self, name: str) -> None:
        self.generation += 1
        self.changes.append(name)
        if len(self.changes) > 100_000:
            del self.changes[:50_000]

    def changed_since(self, generation: int) -> set[str] | None:
        """Names of Nodes that changed after `generation`; None when that is too long ago to know."""
        count = self.generation - generation
        if count > len(self.changes):
            return None
        return set(self.changes[len(self.changes) - count :]) if count else set()

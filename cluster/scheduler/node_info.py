"""
A Node with the sum of what runs on it, kept current one Pod at a time.

Pure. Aggregates are added to and taken from, never summed anew: at a thousand Nodes that is what the cycle lives on.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.machinery.objects import Object
from cluster.scheduler.pod_info import HostPort, PodInfo, Requests, amounts

ZONE_LABEL = "topology.kubernetes.io/zone"
HOSTNAME_LABEL = "kubernetes.io/hostname"
UNSCHEDULABLE_TAINT: Object = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@dataclass(slots=True, eq=False)
class NodeInfo:
    name: str
    node: Object | None = None
    """None while Pods are known on a Node that is not: it takes no more."""
    labels: Mapping[str, str] = field(default_factory=dict)
    allocatable: Requests = field(default_factory=dict)
    taints: tuple[Object, ...] = ()
    unschedulable: bool = False
    images: dict[str, int] = field(default_factory=dict)
    """Bytes by image name."""
    requested: Requests = field(default_factory=dict)
    counted_cpu: int = 0
    counted_memory: int = 0
    pods: dict[str, PodInfo] = field(default_factory=dict)
    """By uid."""
    owners: Counter[str] = field(default_factory=Counter)
    with_terms: dict[str, PodInfo] = field(default_factory=dict)
    """The Pods whose own affinity or anti-affinity concerns newcomers."""

    @property
    def zone(self) -> str:
        return self.labels.get(ZONE_LABEL, "")

    @property
    def max_pods(self) -> int:
        return self.allocatable.get("pods", 0)

    def set_node(self, node: Object) -> None:
        metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
        self.node = node
        self.labels = metadata.get("labels") or {}
        self.allocatable = amounts(status.get("allocatable") or status.get("capacity"))
        self.taints = tuple(spec.get("taints") or ())
        self.unschedulable = bool(spec.get("unschedulable"))
        self.images = {
            name: int(image.get("sizeBytes") or 0)
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        }

    def add(self, pod: PodInfo) -> None:
        self.pods[pod.uid] = pod
        self._count(pod, 1)
        if pod.affinity or pod.anti_affinity or pod.preferred_affinity or pod.preferred_anti_affinity:
            self.with_terms[pod.uid] = pod

    def remove(self, uid: str) -> None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            self._count(pod, -1)
            self.with_terms.pop(uid, None)

    def _count(self, pod: PodInfo, sign: int) -> None:
        for name, value in pod.requests.items():
            self.requested[name] = self.requested.get(name, 0) + sign * value
        self.counted_cpu += sign * pod.counted["cpu"]
        self.counted_memory += sign * pod.counted["memory"]
        if pod.owner:
            self.owners[pod.owner] += sign
            if not self.owners[pod.owner]:
                del self.owners[pod.owner]

    def port_taken(self, wanted: HostPort) -> bool:
        return any(wanted.collides(port) for pod in self.pods.values() for port in pod.ports)

    def without(self, uids: set[str]) -> "NodeInfo":
        """As it would be without these Pods; for preemption's what-if."""
        other = NodeInfo(self.name)
        other.node, other.labels, other.allocatable = self.node, self.labels, self.allocatable
        other.taints, other.unschedulable, other.images = self.taints, self.unschedulable, self.images
        for uid, pod in self.pods.items():
            if uid not in uids:
                other.add(pod)
        return other

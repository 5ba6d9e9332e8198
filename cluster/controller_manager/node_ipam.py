"""
A range of Pod addresses for each Node, out of the cluster's.

Source: kube-controller-manager, pkg/controller/nodeipam/ipam/range_allocator.go.
"""

import ipaddress
from collections.abc import Iterable, Iterator

from cluster.api import resources
from cluster.client.controller import Controller
from cluster.controller_manager.context import Context, enqueue_all
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError, NotFound

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RangeExhausted(Exception):
    """Every range is taken: the cluster has more Nodes than --cluster-cidr has room for."""


class Ranges:
    """Which Node has which range; pure. The lowest free one is given first."""

    def __init__(self, cluster: str, mask_size: int) -> None:
        self._cluster: Network = ipaddress.ip_network(cluster)
        self._mask_size = mask_size
        self._owner: dict[Network, str] = {}

    def _all(self) -> Iterator[Network]:
        return iter(self._cluster.subnets(new_prefix=self._mask_size))

    def occupy(self, node: str, cidrs: Iterable[str]) -> None:
        for text in cidrs:
            self._owner[ipaddress.ip_network(text)] = node

    def release(self, node: str) -> None:
        for network in [network for network, owner in self._owner.items() if owner == node]:
            del self._owner[network]

    def allocate(self, node: str) -> str:
        """
        The range of `node`: the one it was given before, as long as it was not released. Raises RangeExhausted.

        The Node that was seen may be older than the last allocation; a second range for it would be lost.
        """
        for network, owner in self._owner.items():
            if owner == node:
                return str(network)
        for network in self._all():
            if not any(network.overlaps(taken) for taken in self._taken_near(network)):
                self._owner[network] = node
                return str(network)
        raise RangeExhausted(
            f"no Pod range is left for node {node}: {self._cluster} holds "
            f"{2 ** (self._mask_size - self._cluster.prefixlen)} of /{self._mask_size}. Use a larger --cluster-cidr."
        )

    def _taken_near(self, network: Network) -> Iterable[Network]:
        return (network,) if network in self._owner else [n for n in self._owner if n.prefixlen != self._mask_size]


def ranges_of(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))


class NodeIpamController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events("node-ipam-controller")
        self._ranges = Ranges(context.settings.cluster_cidr, context.settings.node_cidr_mask_size)
        self._nodes = context.informers.of(resources.NODES)
        self._nodes.add_handler(self._seen, lambda _, new: self._seen(new), self._gone)
        self.controller = Controller("node-ipam", self.reconcile, workers=1)
        enqueue_all(self.controller, self._nodes)

    def _seen(self, node: Object) -> None:
        self._ranges.occupy(node["metadata"]["name"], ranges_of(node))

    def _gone(self, node: Object) -> None:
        self._ranges.release(node["metadata"]["name"])

    async def run(self) -> None:
        await self.controller.run()

    async def reconcile(self, key: Key) -> None:
        """One worker, after the first list: what all Nodes have is known before anything is given away."""
        node = self._nodes.get(key)
        if node is None or ranges_of(node):
            return
        try:
            given = self._ranges.allocate(key.name)
        except RangeExhausted as error:
            self._events.record(node, "Normal", "CIDRNotAvailable", f"Node {key.name} status is now: CIDRNotAvailable")
            raise error
        patch = {
            "metadata": {"uid": node["metadata"]["uid"]},
            "spec": {"podCIDR": given, "podCIDRs": [given]},
        }
        try:
            await self._client.patch(resources.NODES, key.name, patch, patch_type="strategic")
        except ApiError:
            await self._recall(key.name)
            raise

    async def _recall(self, name: str) -> None:
        """After a refused or unanswered write: what the Node has by now is what it owns, and nothing else."""
        try:
            node = await self._client.get(resources.NODES, name)
        except NotFound:
            self._ranges.release(name)
            return
        if has := ranges_of(node):
            self._ranges.release(name)
            self._ranges.occupy(name, has)

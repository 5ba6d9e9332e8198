"""
Keeps this node's part of the pod network as the Node objects say. Runs inside kube-proxy.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from cluster.client.metrics import Gauge
from cluster.kube_proxy.pod_network import links
from cluster.kube_proxy.pod_network.cni_configuration import configuration, write_configuration
from cluster.kube_proxy.pod_network.plan import Mode, desired, peers_of, plan_changes, pod_cidr
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

PERIOD = 30.0  # seconds between looks at what the host really has
RETRY = 2.0  # seconds
GATHER = 0.02  # seconds

PEERS = Gauge("hanse_pod_network_peers", "Other nodes whose pods this one reaches.")


class PodNetworkAgent:
    """`nodes`: what the informer knows at the moment."""

    def __init__(
        self,
        *,
        mode: Mode,
        node_name: str,
        node_address: str,
        cni_directory: Path,
        nodes: Callable[[], list[Object]],
    ) -> None:
        self._mode = mode
        self._name = node_name
        self._address = node_address
        self._cni_directory = cni_directory
        self._nodes = nodes
        self._wake = asyncio.Event()
        self._cni_ready = False
        self.ready = asyncio.Event()
        """Set once the CNI configuration is in place."""

    def touch(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            timeout = PERIOD
            try:
                await asyncio.to_thread(self.reconcile)
                if self._cni_ready:
                    self.ready.set()
            except (links.PodNetworkError, OSError) as error:
                log.error("the pod network is not as it should be, trying again in %.0f s: %s", RETRY, error)
                timeout = RETRY
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
                await asyncio.sleep(GATHER)
            except TimeoutError:
                continue

    def reconcile(self) -> bool:
        """One look and one set of changes; tells whether anything was done. Raises PodNetworkError, OSError."""
        nodes = self._nodes()
        own = next((node for node in nodes if node["metadata"]["name"] == self._name), None)
        cidr = pod_cidr(own) if own is not None else ""
        if not cidr:
            log.info("node %s has no pod CIDR yet", self._name)
            return False
        links.check_forwarding()
        if self._mode is Mode.VXLAN:
            mtu = links.ensure_device(self._address, cidr)
        else:
            mtu = links.parent_of(self._address)[1]
            links.remove_device()
        peers = peers_of(nodes, self._name)
        PEERS.set(len(peers))
        changes = plan_changes(self._mode, desired(self._mode, peers), links.observe(self._mode))
        links.apply(changes)
        if changes:
            count = len(changes.bridge) + len(changes.ip)
            log.info("pod network: %s changes, %s peers, mode %s", count, len(peers), self._mode)
        written = write_configuration(self._cni_directory, configuration(cidr, mtu))
        if written:
            log.info("pods of this node get addresses of %s", cidr)
        self._cni_ready = True
        return bool(changes) or written

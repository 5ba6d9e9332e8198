"""
kube-proxy as a running service: informers, the proxy, the pod network's agent, the virtual address, health ports.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from cluster.api import resources
from cluster.client.health_server import HealthServer, serving
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.kube_proxy.health import ProxyHealth, ServiceHealthPorts
from cluster.kube_proxy.nftables import Nftables
from cluster.kube_proxy.pod_network.agent import PodNetworkAgent
from cluster.kube_proxy.pod_network.plan import Mode
from cluster.kube_proxy.proxy import HOST_PORTS, ServiceProxy
from cluster.kube_proxy.rules import ProxySettings
from cluster.kube_proxy.services import NodeContext
from cluster.kube_proxy.virtual_address import VirtualAddress, keep_virtual_address
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.systemd import notify, notify_ready

log = logging.getLogger(__name__)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
ZONE_LABEL = "topology.kubernetes.io/zone"
GOING_AWAY_TAINT = "ToBeDeletedByClusterAutoscaler"
# systemd ends a unit that is not ready after its time limit; a host may boot while no apiserver answers.
READY_AT_LAST = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class KubeProxySettings:
    kubeconfig: str
    node_name: str
    node_address: str
    proxy: ProxySettings
    pod_network: Mode
    cni_directory: Path
    healthz: tuple[str, int]
    metrics: tuple[str, int]
    virtual_address: VirtualAddress | None
    local_apiserver: str
    """URL, for the virtual address only."""


class _PlainServer(HealthServer):
    """The health server of upstream's shape in place of the plain one."""

    def __init__(self, health: ProxyHealth) -> None:
        super().__init__({})
        self._proxy_health = health

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._proxy_health.handle(request)


class Informers:
    """What the proxy knows, and how it hears of changes."""

    def __init__(self, client: ApiClient, node_name: str) -> None:
        self.services = Informer(client, resources.SERVICES)
        self.slices = Informer(client, resources.ENDPOINT_SLICES)
        self.nodes = Informer(client, resources.NODES)
        self.pods = Informer(client, resources.PODS, field_selector=f"spec.nodeName={node_name}")
        self.slices.add_index("by-service", lambda obj: [str(_service_of(obj))])

    def slices_of(self, key: Key) -> Iterable[Object]:
        return self.slices.by_index("by-service", str(key))

    def feed(self, proxy: ServiceProxy) -> None:
        """Tell the proxy which Services are to be looked at again."""

        def service_changed(obj: Object) -> None:
            proxy.touch(key_of(obj))

        def slice_changed(obj: Object) -> None:
            proxy.touch(_service_of(obj))

        def slice_updated(old: Object, new: Object) -> None:
            proxy.touch(_service_of(old))
            proxy.touch(_service_of(new))

        def pod_changed(obj: Object) -> None:
            if _has_host_ports(obj):
                proxy.touch(HOST_PORTS)

        self.services.add_handler(service_changed, lambda _, new: service_changed(new), service_changed)
        self.slices.add_handler(slice_changed, slice_updated, slice_changed)
        self.pods.add_handler(pod_changed, lambda _, new: pod_changed(new), pod_changed)


def _has_host_ports(pod: Object) -> bool:
    spec = pod.get("spec") or {}
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    return any(port.get("hostPort") for container in containers for port in container.get("ports") or ())


def _service_of(each: Object) -> Key:
    metadata = each.get("metadata") or {}
    return Key(metadata.get("namespace") or "", (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL) or "")


async def _metrics_are_open(_: web.BaseRequest) -> bool:
    return True  # on loopback


async def serve_proxy(settings: KubeProxySettings, client: ApiClient, nftables: Nftables) -> None:
    """Run until cancelled. Raises OSError when a port is taken."""
    informers = Informers(client, settings.node_name)
    proxy = ServiceProxy(
        settings.proxy,
        NodeContext(settings.node_name),
        nftables,
        service_of=informers.services.get,
        slices_of=informers.slices_of,
        pods=informers.pods.list,
    )
    agent = PodNetworkAgent(
        mode=settings.pod_network,
        node_name=settings.node_name,
        node_address=settings.node_address,
        cni_directory=settings.cni_directory,
        nodes=informers.nodes.list,
    )
    informers.feed(proxy)
    _follow_nodes(informers.nodes, settings.node_name, proxy, agent)
    health = ProxyHealth(proxy, lambda: _is_eligible(informers.nodes.get(Key("", settings.node_name))))
    ports = ServiceHealthPorts(health, lambda: proxy.proxied)
    proxy.on_health_ports = ports.touch
    metrics = HealthServer({"proxy": lambda: health.is_live}, allow=_metrics_are_open)
    async with (
        serving(_PlainServer(health), host=settings.healthz[0], port=settings.healthz[1], context=None),
        serving(metrics, host=settings.metrics[0], port=settings.metrics[1], context=None),
        asyncio.TaskGroup() as tasks,
    ):
        for informer in (informers.services, informers.slices, informers.nodes, informers.pods):
            tasks.create_task(informer.run(), name=f"watch {informer.resource.plural}")
        tasks.create_task(ports.run(), name="service health ports")
        if settings.virtual_address is not None:
            tasks.create_task(
                keep_virtual_address(
                    settings.virtual_address, settings.kubeconfig, settings.local_apiserver, settings.node_name
                ),
                name="virtual address",
            )
        if settings.pod_network is not Mode.NONE:
            tasks.create_task(_run_agent(agent, informers), name="pod network")
        tasks.create_task(_run_proxy(proxy, informers), name="service proxy")
        await _announce(proxy)


async def _run_agent(agent: PodNetworkAgent, informers: Informers) -> None:
    # Before all nodes are known, routes left by the last run would be taken for strangers'.
    await informers.nodes.wait_synced()
    await agent.run()


async def _run_proxy(proxy: ServiceProxy, informers: Informers) -> None:
    # The table of the last run keeps working until everything is known; then it is replaced in one step.
    await informers.services.wait_synced()
    await informers.slices.wait_synced()
    await proxy.run()


async def _announce(proxy: ServiceProxy) -> None:
    """READY=1 after the first synchronisation, or after READY_AT_LAST without it."""
    deadline = asyncio.get_running_loop().time() + READY_AT_LAST
    while not proxy.last_success:
        if asyncio.get_running_loop().time() > deadline:
            notify("STATUS=no apiserver answers yet: the rules of the last run stay")
            break
        await asyncio.sleep(0.05)
    notify_ready()


def _follow_nodes(nodes: Informer, own_name: str, proxy: ServiceProxy, agent: PodNetworkAgent) -> None:
    def own(node: Object) -> None:
        if node["metadata"]["name"] == own_name:
            labels = node["metadata"].get("labels") or {}
            proxy.use_node(NodeContext(own_name, labels.get(ZONE_LABEL) or ""))

    def added(node: Object) -> None:
        own(node)
        agent.touch()

    def updated(old: Object, new: Object) -> None:
        own(new)
        # A node reports its status every few minutes; only these fields mean anything here.
        if _network_of(old) != _network_of(new):
            agent.touch()

    nodes.add_handler(added, updated, lambda _: agent.touch())


def _network_of(node: Object) -> tuple[object, object]:
    return (node.get("spec") or {}).get("podCIDR"), (node.get("status") or {}).get("addresses")


def _is_eligible(node: Object | None) -> bool:
    if node is None:
        return True
    taints = (node.get("spec") or {}).get("taints") or ()
    going = any(taint.get("key") == GOING_AWAY_TAINT for taint in taints)
    return not going and not node["metadata"].get("deletionTimestamp")

"""
Make hosts nodes: the container runtime as early as its files lie there, kubelet, proxy and DNS once there is an API;
then wait until every Node is Ready.
"""

import asyncio
from collections.abc import Sequence

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.settings import CONTROL_PLANE_LABEL
from inventory.model import ClusterSpec, HostSpec, Role
from provisioner.errors import ProvisionError
from provisioner.facts.host_facts import NODE_UNITS, RUNTIME_UNITS
from provisioner.operations.units import restart_units, start_units
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run
from provisioner.plan import units_to_restart, units_to_start

READY_PATIENCE = 120.0  # seconds from the kubelet's start; it takes a few
_ASK_AGAIN = 0.25  # seconds


async def start_runtime(run: Run) -> None:
    """containerd, and the release's images imported."""
    await _bring_up(run, RUNTIME_UNITS)


async def start_node_services(run: Run) -> None:
    """kubelet, kube-proxy with the pod network, cluster DNS."""
    await _bring_up(run, NODE_UNITS)


async def _bring_up(run: Run, units: Sequence[str]) -> None:
    async def one(host: HostSpec) -> None:
        facts, transport = run.facts_of(host), run.transport(host)
        if changed := units_to_restart(host, facts, units):
            run.progress.line(f"restart {', '.join(changed)}", host.name)
            await restart_units(transport, changed)
        if idle := units_to_start(host, facts, units):
            await start_units(transport, idle)

    await for_each(run.spec.with_role(Role.NODE), one)


async def wait_nodes_ready(client: ApiClient, spec: ClusterSpec) -> None:
    """Raises ProvisionError that names every Node that is not, with its reason."""
    waiting: dict[str, str] = {host.name: "no Node object" for host in spec.with_role(Role.NODE)}
    try:
        async with asyncio.timeout(READY_PATIENCE):
            while True:
                try:
                    nodes = await client.list(resources.NODES)
                    waiting = not_ready(spec, nodes["items"])
                except ApiError as error:
                    waiting = dict.fromkeys(waiting, f"the API says: {error}")
                if not waiting:
                    return
                await asyncio.sleep(_ASK_AGAIN)
    except TimeoutError as error:
        raise ProvisionError(
            f"{len(waiting)} nodes are not Ready after {READY_PATIENCE:g} s",
            why="; ".join(f"{name}: {reason}" for name, reason in waiting.items()),
            next_step="Read `journalctl -u kubelet -u kube-proxy` on these hosts, then run again.",
        ) from error


def not_ready(spec: ClusterSpec, nodes: Sequence[Object]) -> dict[str, str]:
    """Node name -> why it is not Ready, for every host that should be a node."""
    found = {node["metadata"]["name"]: node for node in nodes}
    waiting = {}
    for host in spec.with_role(Role.NODE):
        node = found.get(host.name)
        conditions = (node or {}).get("status", {}).get("conditions", [])
        ready: Object = next((c for c in conditions if c["type"] == "Ready"), {})
        if ready.get("status") != "True":
            waiting[host.name] = ready.get("message") or ("no Node object" if node is None else "no condition yet")
    return waiting


async def label_masters(client: ApiClient, spec: ClusterSpec) -> None:
    """A kubelet may not give itself this label (NodeRestriction), so the operator does."""
    for host in spec.with_role(Role.CONTROL_PLANE):
        if not host.has(Role.NODE):
            continue
        node = await client.get(resources.NODES, host.name)
        if CONTROL_PLANE_LABEL not in node["metadata"].get("labels", {}):
            await client.patch(resources.NODES, host.name, {"metadata": {"labels": {CONTROL_PLANE_LABEL: ""}}})


async def missing_labels(client: ApiClient, spec: ClusterSpec) -> list[str]:
    """A sentence for each that `label_masters` would set."""
    found = []
    for host in spec.with_role(Role.CONTROL_PLANE):
        if not host.has(Role.NODE):
            continue
        try:
            node = await client.get(resources.NODES, host.name)
        except NotFound:
            node = {"metadata": {}}
        if CONTROL_PLANE_LABEL not in node["metadata"].get("labels", {}):
            found.append(f"label Node {host.name} as control plane")
    return found

"""The gate between one host and the next: whether what runs on it serves again."""

import asyncio

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError
from inventory.model import HostSpec, Role, url_host
from provisioner.errors import ProvisionError
from provisioner.operations import etcd, smoke
from provisioner.operations.api_probe import operator_tls, wait_ready
from provisioner.phases.join_nodes import not_ready
from provisioner.phases.run import Run

READY_PATIENCE = 60.0  # seconds


async def wait_serving(run: Run, client: ApiClient, host: HostSpec) -> None:
    """
    Its member of etcd is healthy, its apiserver ready, its Node Ready and able to run a Pod, as far as it has them.

    Raises:
        ProvisionError: one of them is not, in time.
    """
    if host.has(Role.ETCD):
        await etcd.wait_healthy(run.transport(host))
    if host.has(Role.CONTROL_PLANE):
        await wait_ready(f"https://{url_host(host.address)}:6443", operator_tls(run.home.pki), host.name)
    if host.has(Role.NODE):
        await _wait_node(run, client, host)
        await smoke.run_pod(client, host.name)


async def _wait_node(run: Run, client: ApiClient, host: HostSpec) -> None:
    spec, why = run.narrowed([host]).spec, "it was not asked"
    try:
        async with asyncio.timeout(READY_PATIENCE):
            while True:
                try:
                    waiting = not_ready(spec, [await client.get(resources.NODES, host.name)])
                except ApiError as error:
                    waiting = {host.name: str(error)}
                if not waiting:
                    return
                why = waiting[host.name]
                await asyncio.sleep(0.25)
    except TimeoutError as error:
        raise ProvisionError(
            f"node {host.name} is not Ready after {READY_PATIENCE:g} s", why=why,
            next_step="Read `journalctl -u kubelet` on the host.", host=host.name,
        ) from error  # fmt: skip

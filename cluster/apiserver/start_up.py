"""
What the apiserver writes for itself once the store can be read, and takes back when it stops.
"""

import ipaddress
from typing import TYPE_CHECKING

from cluster.api import resources
from cluster.apiserver.options import Options
from cluster.machinery.status_errors import AlreadyExists

if TYPE_CHECKING:
    from cluster.apiserver.app import Apiserver

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def service_address(options: Options) -> str:
    """First address of the service network: where the Service default/kubernetes is."""
    network = ipaddress.ip_network(options.service_cluster_ip_range.split(",")[0])
    return str(network.network_address + 1)


async def run(server: "Apiserver") -> None:
    for name in _NAMESPACES:
        if server.registry.get(resources.NAMESPACES, "", name) is None:
            try:
                await server.registry.create(
                    resources.NAMESPACES, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
                )
            except AlreadyExists:
                continue
    server.booted.set()


async def leave(server: "Apiserver") -> None:
    """Nothing of ours shall point at a server that is gone."""

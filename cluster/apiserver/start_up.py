"""
What the apiserver writes for itself once the store can be read, and takes back when it stops.
"""

import ipaddress
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.apiserver.bootstrap import BootstrapSettings, ensure_bootstrap_objects, publish_authorities
from cluster.apiserver.options import Options
from cluster.apiserver.profile import Profile

if TYPE_CHECKING:
    from cluster.apiserver.app import Apiserver


def service_address(options: Options) -> str:
    """First address of the service network: where the Service default/kubernetes is."""
    network = ipaddress.ip_network(options.service_cluster_ip_range.split(",")[0])
    return str(network.network_address + 1)


def advertise_address(options: Options) -> str:
    """The address under which others reach this server: the flag's, or that of the default route."""
    for address in (options.advertise_address, options.bind_address):
        if address and not (ipaddress.ip_address(address).is_unspecified or ipaddress.ip_address(address).is_loopback):
            return address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; it only chooses the source address.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _bootstrap_settings(options: Options, profile: Profile) -> BootstrapSettings:
    request_header: dict[str, str] = {}
    if options.requestheader_client_ca_file:
        request_header = {
            "requestheader-client-ca-file": Path(options.requestheader_client_ca_file).read_text(),
            "requestheader-allowed-names": json.dumps(options.requestheader_allowed_names),
            "requestheader-username-headers": json.dumps(options.requestheader_username_headers),
            "requestheader-group-headers": json.dumps(options.requestheader_group_headers),
            "requestheader-extra-headers-prefix": json.dumps(options.requestheader_extra_headers_prefix),
        }
    return BootstrapSettings(
        service_cidrs=() if profile.only_stores else tuple(options.service_cluster_ip_range.split(",")),
        client_ca=Path(options.client_ca_file).read_text() if options.client_ca_file else "",
        request_header=request_header or None,
        namespaces=profile.namespaces,
    )


async def run(server: "Apiserver") -> None:
    settings = _bootstrap_settings(server.options, server.profile)
    await ensure_bootstrap_objects(server.registry, server.registry, settings)
    # Roles are read from memory: who is told that we are ready shall have what they allow.
    await server.cache.catch_up()
    server.booted.set()


async def publish_changed_authorities(server: "Apiserver") -> None:
    """For extension apiservers: the CAs of clients and of the front proxy, as their files say now."""
    await publish_authorities(server.registry, server.registry, _bootstrap_settings(server.options, server.profile))

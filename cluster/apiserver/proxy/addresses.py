"""
Which addresses requests may be passed on to: never the apiserver's own host or its link, whatever an object says.

Source: k8s.io/kubernetes, pkg/proxy/util (IsProxyableIP, IsProxyableHostname) and Go's net.IP.IsGlobalUnicast.
"""

import asyncio
import ipaddress
import socket

from cluster.machinery.status_errors import BadRequest

REFUSED = "address not allowed"


def is_allowed(address: str) -> bool:
    """No loopback, link-local (clouds keep credentials there), multicast, unspecified or broadcast address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    refused = ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified
    return not refused and str(ip) != "255.255.255.255"


def check(address: str) -> str:
    """The address. Raises BadRequest for one that is not allowed."""
    if not is_allowed(address):
        raise BadRequest(REFUSED)
    return address


async def resolve(host: str) -> str:
    """An address to dial for a name, every one of which is allowed. Raises BadRequest."""
    try:
        ipaddress.ip_address(host)
        return check(host)
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as fault:
        raise BadRequest(f"lookup {host}: {fault.strerror or fault}") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise BadRequest("no addresses for hostname")
    for address in addresses:
        check(address)
    return addresses[0]

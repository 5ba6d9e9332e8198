"""
Who may ask what: pods and this host everything, others only the cluster's names.

An open resolver is an amplifier for attacks, and a hole through which internal resolvers can be asked.
"""

import socket
import time
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network

# Own addresses change seldom, and to ask the kernel costs 10 us.
REMEMBERED = 30.0  # seconds
MAX_REMEMBERED = 4096


class Access:
    """`networks`: the pod network, and whatever else may recurse."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [IPv4Network(network) for network in [*networks, "127.0.0.0/8"]]
        self._known: dict[str, tuple[float, bool]] = {}

    def may_recurse(self, source: str) -> bool:
        known = self._known.get(source)
        now = time.monotonic()
        if known is not None and now - known[0] < REMEMBERED:
            return known[1]
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        allowed = self._is_trusted(source)
        self._known[source] = (now, allowed)
        return allowed

    def _is_trusted(self, source: str) -> bool:
        try:
            address = IPv4Address(source)
        except AddressValueError:
            return False
        return any(address in network for network in self._networks) or is_own_address(source)


def is_own_address(address: str) -> bool:
    """Whether this host has the address: only then can a socket be bound to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True

"""
How much is answered over UDP, where a source address may be forged and the answers aimed at somebody. Pure.

Counted by network, since whoever is flooded shares a line with their neighbours, and an attacker can forge all of
a network's addresses.
"""

import time
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv6Address

MAX_NETWORKS = 65_536
_UPPER_56 = ((1 << 128) - 1) ^ ((1 << 72) - 1)


class Admission(Enum):
    ANSWER = 1
    OVER_TCP = 2
    """Say that the answer does not fit: a real client comes back over TCP, a forged one never saw it."""
    NOTHING = 3


class RateLimit:
    """
    Args:
        limit: answers a second to one network (/24, /56); 0: as many as are asked for.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._second = -1
        self._counts: dict[str, int] = {}
        self._networks: dict[str, str] = {}

    def admits(self, source: str) -> Admission:
        """Of what is too much, every second question is sent to TCP."""
        if not self.limit:
            return Admission.ANSWER
        second = int(self._clock())
        if second != self._second or len(self._counts) >= MAX_NETWORKS:
            self._second = second
            self._counts.clear()
        network = self._networks.get(source)
        if network is None:
            if len(self._networks) >= MAX_NETWORKS:
                self._networks.clear()
            network = self._networks[source] = network_of(source)
        count = self._counts[network] = self._counts.get(network, 0) + 1
        if count <= self.limit:
            return Admission.ANSWER
        return Admission.NOTHING if count % 2 else Admission.OVER_TCP


def network_of(source: str) -> str:
    """What addresses are counted together by."""
    if ":" not in source:
        return source.rpartition(".")[0]
    return str(IPv6Address(int(IPv6Address(source.partition("%")[0])) & _UPPER_56))

"""Ports for servers of tests."""

import itertools
import os
import random
import socket

_FIRST_PORT, _PORTS_A_WORKER = 11_000, 5_000


def free_ports(number: int) -> list[int]:
    """
    Ports of loopback that are free now, for TCP and UDP.

    They are below those that the kernel gives to outgoing connections, and each process of a run has a range of its
    own: nobody else takes one before its server is up.
    """
    first = _FIRST_PORT + _PORTS_A_WORKER * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 4)
    candidates = random.sample(range(first, first + _PORTS_A_WORKER), 50 + number)
    return list(itertools.islice(filter(_is_free, candidates), number))


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    return free_ports(1)[0]

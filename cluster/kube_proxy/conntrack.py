"""
Forget the kernel's flows to UDP backends that are gone: a client that keeps its port would go on talking to nobody.

TCP needs none of this, its clients notice. Speaks ctnetlink on a socket of its own; needs CAP_NET_ADMIN.
Source: linux/netfilter/nfnetlink_conntrack.h.
"""

import logging
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cluster.kube_proxy.services import Backend

log = logging.getLogger(__name__)

NETLINK_NETFILTER = 12
_CTNETLINK = 1 << 8
_GET, _DELETE = _CTNETLINK | 1, _CTNETLINK | 2
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_DONE, _ERROR = 3, 2
_TUPLE_ORIG, _TUPLE_REPLY = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_NESTED = 0x8000
_UDP = 17


class Flow(NamedTuple):
    """One tracked UDP connection."""

    destination: str
    """Whom the client addressed."""
    port: int
    answered_by: Backend
    """Who answers: the backend after NAT, else the destination itself."""
    original: bytes
    """The attribute that names the flow to the kernel."""


class Stale(NamedTuple):
    """Flows to forget: those to (destination, port) whose answers come from none of `backends`. Empty: any address."""

    destination: str
    port: int
    backends: frozenset[Backend]


def choose_stale(flows: Iterable[Flow], stale: Iterable[Stale]) -> list[Flow]:
    """Pure: the flows that lead to a backend that a frontend has no longer."""
    wanted = {(s.destination, s.port): s.backends for s in stale}
    chosen = []
    for flow in flows:
        backends = wanted.get((flow.destination, flow.port))
        if backends is None:
            backends = wanted.get(("", flow.port))
        if backends is not None and flow.answered_by not in backends:
            chosen.append(flow)
    return chosen


def forget_flows(stale: Iterable[Stale]) -> int:
    """Remove them; returns how many. Raises OSError when the kernel refuses to list flows."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
        channel.bind((0, 0))
        channel.settimeout(5.0)
        flows = choose_stale(list(_dump(channel)), stale)
        for flow in flows:
            _send(channel, _DELETE, _REQUEST | _ACK, flow.original)
            for kind, payload in _messages(channel.recv(65536)):
                if kind == _ERROR and (code := struct.unpack_from("=i", payload)[0]):
                    log.debug("a flow to %s:%s had gone by itself: error %s", flow.destination, flow.port, code)
        return len(flows)


def _send(channel: socket.socket, kind: int, flags: int, attributes: bytes = b"") -> None:
    body = struct.pack("!BBH", socket.AF_INET, 0, 0) + attributes
    channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            return
        yield kind, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _dump(channel: socket.socket) -> Iterator[Flow]:
    _send(channel, _GET, _REQUEST | _DUMP)
    while True:
        for kind, payload in _messages(channel.recv(262_144)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -struct.unpack_from("=i", payload)[0]
                raise OSError(code, "the kernel refused to list tracked connections")
            flow = _read_flow(payload[4:])
            if flow is not None:
                yield flow


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _read_flow(data: bytes) -> Flow | None:
    found = _attributes(data)
    original, reply = found.get(_TUPLE_ORIG, b""), found.get(_TUPLE_REPLY, b"")
    there, back = _addresses(original), _addresses(reply)
    if there is None or back is None:
        return None
    (_, _), (destination, port) = there
    attribute = struct.pack("=HH", 4 + len(original), _TUPLE_ORIG | _NESTED) + original
    return Flow(destination, port, Backend(*back[0]), attribute)


def _addresses(data: bytes) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """((source, port), (destination, port)) of a UDP tuple over IPv4."""
    parts = _attributes(data)
    addresses, protocol = _attributes(parts.get(_TUPLE_IP, b"")), _attributes(parts.get(_TUPLE_PROTO, b""))
    if protocol.get(1, b"\0")[0] != _UDP or len(addresses.get(1, b"")) != 4 or len(addresses.get(2, b"")) != 4:
        return None
    ports = [struct.unpack("!H", protocol.get(kind, b"\0\0")[:2])[0] for kind in (2, 3)]
    source, destination = (socket.inet_ntoa(addresses[kind]) for kind in (1, 2))
    return (source, ports[0]), (destination, ports[1])

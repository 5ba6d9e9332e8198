"""
The pod network of one node: what has to be on this host so that its pods reach those of every other node. Pure.

VXLAN: one device; for each other node a forwarding entry, a neighbour and a route, all static, so nothing is ever
asked or learnt. Host routes: one route a node, for hosts that share a link. The MAC address of a node's device
follows from the node's address, and so need not be told to anybody.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from cluster.machinery.objects import Object

DEVICE = "hanse-vxlan"
VNI = 4096  # flannel uses 1, Calico 4096 with another port: both can be tried beside ours
PORT = 8472  # UDP; the kernel's own default
OVERHEAD = 50  # bytes that VXLAN puts around a packet
ROUTE_PROTOCOL = 142  # marks our routes, so that nobody else's are touched


class Mode(StrEnum):
    VXLAN = "vxlan"
    HOST_ROUTES = "host-routes"
    NONE = "none"


@dataclass(frozen=True, slots=True, order=True)
class Peer:
    """Another node."""

    address: str
    pod_cidr: str


@dataclass(frozen=True, slots=True)
class Observed:
    """Our part of this host's tables. Routes: destination -> gateway; neighbours: address -> MAC; fdb: MAC -> node."""

    routes: dict[str, str]
    neighbours: dict[str, str]
    forwarding: dict[str, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """Lines for `ip -batch` and `bridge -batch`, in this order."""

    bridge: tuple[str, ...]
    ip: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.bridge or self.ip)


def device_mac(address: str) -> str:
    """`10.0.0.5` -> 0e:48:0a:00:00:05: locally administered, one a node."""
    return ":".join(f"{byte:02x}" for byte in (0x0E, 0x48, *IPv4Address(address).packed))


def device_address(pod_cidr: str) -> str:
    """The node's own address inside the pod network: the first of its range, which no pod gets."""
    return str(IPv4Network(pod_cidr).network_address)


def node_address(node: Object) -> str:
    """The InternalIP (IPv4); empty while the node has not reported one."""
    addresses = (node.get("status") or {}).get("addresses") or ()
    return next((a["address"] for a in addresses if a.get("type") == "InternalIP" and ":" not in a["address"]), "")


def pod_cidr(node: Object) -> str:
    spec = node.get("spec") or {}
    ranges = spec.get("podCIDRs") or [spec.get("podCIDR") or ""]
    return next((text for text in ranges if text and ":" not in text), "")


def peers_of(nodes: Iterable[Object], own_name: str) -> list[Peer]:
    """Every other node that has both an address and a range of pod addresses."""
    found = [
        Peer(node_address(node), pod_cidr(node)) for node in nodes if node["metadata"]["name"] != own_name
    ]  # fmt: skip
    return sorted(peer for peer in found if peer.address and peer.pod_cidr)


def desired(mode: Mode, peers: Iterable[Peer]) -> Observed:
    """What the tables should hold."""
    if mode is Mode.HOST_ROUTES:
        return Observed({peer.pod_cidr: peer.address for peer in peers}, {}, {})
    if mode is Mode.NONE:
        return Observed({}, {}, {})
    peers = list(peers)
    return Observed(
        routes={peer.pod_cidr: device_address(peer.pod_cidr) for peer in peers},
        neighbours={device_address(peer.pod_cidr): device_mac(peer.address) for peer in peers},
        forwarding={device_mac(peer.address): peer.address for peer in peers},
    )


def plan_changes(mode: Mode, wanted: Observed, observed: Observed) -> Changes:
    """desired − observed. Entries are put before the routes that need them, and removed after."""
    device = f" dev {DEVICE} onlink" if mode is Mode.VXLAN else ""
    bridge = [
        f"fdb replace {mac} dev {DEVICE} dst {address} self permanent"
        for mac, address in wanted.forwarding.items()
        if observed.forwarding.get(mac) != address
    ]
    bridge += [
        f"fdb del {mac} dev {DEVICE} dst {address} self"
        for mac, address in observed.forwarding.items()
        if mac not in wanted.forwarding
    ]
    ip = [
        f"neighbour replace {address} lladdr {mac} dev {DEVICE} nud permanent"
        for address, mac in wanted.neighbours.items()
        if observed.neighbours.get(address) != mac
    ]
    ip += [
        f"route replace {cidr} via {gateway}{device} proto {ROUTE_PROTOCOL}"
        for cidr, gateway in wanted.routes.items()
        if observed.routes.get(cidr) != gateway
    ]
    ip += [f"route del {cidr} proto {ROUTE_PROTOCOL}" for cidr in observed.routes if cidr not in wanted.routes]
    ip += [f"neighbour del {a} dev {DEVICE}" for a in observed.neighbours if a not in wanted.neighbours]
    return Changes(tuple(bridge), tuple(ip))

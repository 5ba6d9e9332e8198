"""
What a Service and its EndpointSlices mean to the traffic of this node: frontends, and the backends behind each. Pure.

A frontend is one address (or a node port) of one port of a Service. Which backends it has depends on readiness,
on traffic policies, and on where the packet comes from.
Called by   cluster.kube_proxy.proxy, once a Service, when it or its slices changed.
Not here    how that is said in nftables (rules.py).
Source: Kubernetes API reference, Service and EndpointSlice; KEP-1669 (terminating endpoints), KEP-2433 (hints).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import NamedTuple

from cluster.machinery.objects import Object

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
DEFAULT_AFFINITY_SECONDS = 10_800  # three hours; Service API, clientIP.timeoutSeconds


class Backend(NamedTuple):
    """Where a packet goes."""

    address: str
    port: int


class Origin(StrEnum):
    """Who is served by a frontend."""

    CLUSTER_IP = "cluster"
    EXTERNAL = "external"
    NODE_PORT = "nodeport"


@dataclass(frozen=True, slots=True)
class Frontend:
    """One thing that clients connect to."""

    origin: Origin
    address: str
    """Empty for a node port: it is every node address."""
    protocol: str
    """`tcp`, `udp` or `sctp`."""
    port: int
    backends: tuple[Backend, ...]
    """For the packets that the policy is about: all of them, or those on this node under a Local policy."""
    inside_backends: tuple[Backend, ...]
    """For packets from pods and from this node itself, when a Local policy does not bind them."""
    local: bool
    """A Local policy holds: without a backend here packets are dropped, and the client's address is kept."""
    exists_elsewhere: bool
    """There are backends, though maybe not for this node: drop instead of reject."""
    affinity_seconds: int
    """0: none."""
    source_ranges: tuple[str, ...]
    """Networks that may come in; empty: all."""


@dataclass(frozen=True, slots=True)
class ProxiedService:
    cluster_ips: tuple[str, ...]
    frontends: tuple[Frontend, ...]
    health_check_port: int
    """Where load balancers ask whether this node has backends; 0: nowhere."""
    local_backends: int


@dataclass(frozen=True, slots=True)
class NodeContext:
    name: str
    zone: str = ""
    """topology.kubernetes.io/zone of this node."""


class _Endpoint(NamedTuple):
    backend: Backend
    ready: bool
    serving: bool
    terminating: bool
    node: str
    zones: tuple[str, ...]
    nodes: tuple[str, ...]


def is_proxied(service: Object) -> bool:
    """Whether it is this proxy's to serve: not headless, not an ExternalName, not labelled for another proxy."""
    spec = service.get("spec") or {}
    labels = (service.get("metadata") or {}).get("labels") or {}
    return (
        spec.get("type") != "ExternalName"
        and _is_ipv4(spec.get("clusterIP") or "")
        and PROXY_NAME_LABEL not in labels
        and HEADLESS_LABEL not in labels
    )


def read_service(service: Object, slices: Iterable[Object], node: NodeContext) -> ProxiedService | None:
    """Everything this node does for one Service; None when it is not this proxy's."""
    if not is_proxied(service):
        return None
    spec = service["spec"]
    slices = [each for each in slices if each.get("addressType") == "IPv4"]
    cluster_ips = tuple(ip for ip in (spec.get("clusterIPs") or [spec["clusterIP"]]) if _is_ipv4(ip))
    frontends: list[Frontend] = []
    local_addresses: set[str] = set()
    for port in spec.get("ports") or ():
        endpoints = _endpoints_of(slices, port.get("name") or "")
        local_addresses.update(e.backend.address for e in endpoints if e.node == node.name and e.ready)
        frontends.extend(_port_frontends(service, port, endpoints, cluster_ips, node))
    health_port = spec.get("healthCheckNodePort") or 0
    wants_health = spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
    return ProxiedService(
        cluster_ips, tuple(frontends), health_port if wants_health else 0, len(local_addresses)
    )  # fmt: skip


def _port_frontends(
    service: Object, port: Object, endpoints: Sequence[_Endpoint], cluster_ips: Sequence[str], node: NodeContext
) -> Iterable[Frontend]:
    spec = service["spec"]
    everywhere = choose_backends(_hinted(endpoints, node))
    here = choose_backends([e for e in endpoints if e.node == node.name])
    inside_local = spec.get("internalTrafficPolicy") == "Local"
    outside_local = spec.get("externalTrafficPolicy") == "Local"

    def frontend(origin: Origin, address: str, number: int, ranges: tuple[str, ...] = ()) -> Frontend:
        local = inside_local if origin is Origin.CLUSTER_IP else outside_local
        bound_inside = origin is Origin.CLUSTER_IP and local
        return Frontend(
            origin=origin,
            address=address,
            protocol=(port.get("protocol") or "TCP").lower(),
            port=number,
            backends=here if local else everywhere,
            inside_backends=here if bound_inside else everywhere,
            local=local,
            exists_elsewhere=bool(everywhere),
            affinity_seconds=_affinity(spec),
            source_ranges=ranges,
        )

    for address in cluster_ips:
        yield frontend(Origin.CLUSTER_IP, address, port["port"])
    for address in spec.get("externalIPs") or ():
        if _is_ipv4(address):
            yield frontend(Origin.EXTERNAL, address, port["port"])
    ranges = _source_ranges(spec)
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    for each in ingress if spec.get("type") == "LoadBalancer" else ():
        if _is_ipv4(each.get("ip") or "") and each.get("ipMode") != "Proxy":
            yield frontend(Origin.EXTERNAL, each["ip"], port["port"], ranges)
    if port.get("nodePort") and spec.get("type") in ("NodePort", "LoadBalancer"):
        yield frontend(Origin.NODE_PORT, "", port["nodePort"])


def choose_backends(endpoints: Sequence[_Endpoint]) -> tuple[Backend, ...]:
    """The ready ones; when there are none, those that still serve while they terminate."""
    chosen = [e.backend for e in endpoints if e.ready]
    if not chosen:
        chosen = [e.backend for e in endpoints if e.serving and e.terminating]
    return tuple(dict.fromkeys(sorted(chosen)))


def _hinted(endpoints: Sequence[_Endpoint], node: NodeContext) -> Sequence[_Endpoint]:
    """Those meant for this node, then for its zone; all of them when a ready one lacks the hint or none is meant."""
    ready = [e for e in endpoints if e.ready]
    if not ready:
        return endpoints
    if all(e.nodes for e in ready):
        meant = [e for e in ready if node.name in e.nodes]
        if meant:
            return meant
    if node.zone and all(e.zones for e in ready):
        return [e for e in ready if node.zone in e.zones] or endpoints
    return endpoints


def _endpoints_of(slices: Iterable[Object], port_name: str) -> list[_Endpoint]:
    found: list[_Endpoint] = []
    for each in slices:
        number = next((p.get("port") for p in each.get("ports") or () if (p.get("name") or "") == port_name), None)
        if not number:
            continue
        for endpoint in each.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            # Unknown counts as ready; an unknown serving follows ready. Source: EndpointSlice API.
            ready = conditions.get("ready") is not False
            hints = endpoint.get("hints") or {}
            addresses = endpoint.get("addresses") or ()
            if not addresses or not _is_ipv4(addresses[0]):
                continue
            found.append(
                _Endpoint(
                    Backend(addresses[0], number),
                    ready,
                    ready if conditions.get("serving") is None else bool(conditions["serving"]),
                    bool(conditions.get("terminating")),
                    endpoint.get("nodeName") or "",
                    tuple(zone.get("name") or "" for zone in hints.get("forZones") or ()),
                    tuple(zone.get("name") or "" for zone in hints.get("forNodes") or ()),
                )
            )
    return found


def _affinity(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(config.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS)


def _source_ranges(spec: Object) -> tuple[str, ...]:
    ranges = []
    for text in spec.get("loadBalancerSourceRanges") or ():
        try:
            ranges.append(IPv4Network(text.strip(), strict=False))
        except ValueError:
            continue  # an IPv6 range; nothing of it arrives in this table
    if any(network.prefixlen == 0 for network in ranges):
        return ()
    return tuple(str(network) for network in sorted(ranges))


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True

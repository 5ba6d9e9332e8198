"""
Under which addresses a Service can be reached in one member, and how many of its endpoints are ready. Pure.

What a load balancer gave it goes first, then spec.externalIPs, then addresses of nodes, where its node ports are open.
Called by   federation.controllers.member_view, with what informers in the member know.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from cluster.machinery.objects import Object

AUTO, LOAD_BALANCER, EXTERNAL_IPS, NODES = "Auto", "LoadBalancer", "ExternalIPs", "Nodes"
MAX_NODES = 8
"""Nodes of one member in an answer: enough to outlive some, few enough for a UDP message with many members."""
_NO_BALANCING = "node.kubernetes.io/exclude-from-external-load-balancers"


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What one member has of one Service."""

    addresses: tuple[str, ...]
    """IPv4 and IPv6, as the policy wants them."""
    hostnames: tuple[str, ...]
    """Of its ingress."""
    ready: int
    """Ready endpoints."""
    current: bool = True
    """False: said before the member was lost; it came back and has not said it anew."""


def wants_nodes(service: Object, source: str = AUTO) -> bool:
    """Whether it may take nodes to say where the Service is."""
    kind = service["spec"].get("type") or "ClusterIP"
    if source not in (AUTO, NODES) or kind not in ("NodePort", "LoadBalancer"):
        return False
    return source == NODES or not (_ingress(service) or service["spec"].get("externalIPs"))


def facts_of(
    service: Object, endpoints: Iterable[Object], nodes: Sequence[Object] = (), source: str = AUTO
) -> ServiceFacts:
    """
    Args:
        endpoints: its EndpointSlices, or its Endpoints.
        nodes: of the member, where `wants_nodes` says so.
        source: AUTO, LOAD_BALANCER, EXTERNAL_IPS or NODES.
    """
    ready = [one for obj in endpoints for one in _ready(obj)]
    spec, ingress = service["spec"], _ingress(service)
    addresses: Iterable[str] = ()
    hostnames: tuple[str, ...] = ()
    if source in (AUTO, LOAD_BALANCER) and ingress:
        addresses = [one["ip"] for one in ingress if one.get("ip")]
        hostnames = tuple(str(one["hostname"]) for one in ingress if one.get("hostname") and not one.get("ip"))
    elif source in (AUTO, EXTERNAL_IPS) and spec.get("externalIPs"):
        addresses = spec["externalIPs"]
    elif wants_nodes(service, source) and (source == NODES or _serves_on_nodes(service, nodes)):
        local = {name for _, name in ready if name} if spec.get("externalTrafficPolicy") == "Local" else None
        addresses = node_addresses(nodes, local, spec.get("ipFamilies") or ())
    count = len({address for address, _ in ready})
    return ServiceFacts(tuple(dict.fromkeys(one for one in addresses if _is_address(one))), hostnames, count)


def node_addresses(
    nodes: Sequence[Object], only: "set[str] | None" = None, families: Sequence[str] = ()
) -> tuple[str, ...]:
    """
    Of ready nodes: the external addresses where any node has one, else the internal ones.

    Args:
        only: names of nodes that serve; None: all.
        families: `IPv4`, `IPv6`; empty: both.
    """
    usable = [one for one in nodes if _usable(one) and (only is None or one["metadata"]["name"] in only)]
    # Of a cluster with one node, kubeadm excludes that very node.
    chosen = [one for one in usable if _NO_BALANCING not in (one["metadata"].get("labels") or {})] or usable
    chosen = sorted(chosen, key=lambda node: str(node["metadata"]["name"]))
    for kind in ("ExternalIP", "InternalIP"):
        found = [own for node in chosen if (own := _of_type(node, kind, families))]
        if found:
            return tuple(dict.fromkeys(address for own in found[:MAX_NODES] for address in own))
    return ()


def _of_type(node: Object, kind: str, families: Sequence[str]) -> list[str]:
    listed = (node.get("status") or {}).get("addresses") or ()
    addresses = [one["address"] for one in listed if one.get("type") == kind and _is_address(one["address"])]
    return [one for one in addresses if not families or f"IPv{ip_address(one).version}" in families]


def _usable(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and not node["metadata"].get("deletionTimestamp")


def _serves_on_nodes(service: Object, nodes: Sequence[Object]) -> bool:
    """
    A load balancer that nobody will ever give an address is reached as a NodePort is.

    Nodes with a providerID belong to a cloud, whose controller gives it one soon.
    """
    return service["spec"]["type"] == "NodePort" or not any(node["spec"].get("providerID") for node in nodes)


def _ingress(service: Object) -> list[Any]:
    found: list[Any] = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return found


def _ready(obj: Object) -> Iterable[tuple[str, str]]:
    """(address, node) of every ready endpoint of an EndpointSlice or an Endpoints object."""
    for endpoint in obj.get("endpoints") or ():
        # No word about readiness means ready.
        if (endpoint.get("conditions") or {}).get("ready") is not False:
            for address in endpoint.get("addresses") or ():
                yield str(address), str(endpoint.get("nodeName") or "")
    for subset in obj.get("subsets") or ():
        for one in subset.get("addresses") or ():
            yield str(one["ip"]), str(one.get("nodeName") or "")


def _is_address(text: str) -> bool:
    try:
        found = ip_address(text)
    except ValueError:
        return False
    return not (found.is_unspecified or found.is_multicast)

"""
What a cluster gets of an imported Service: the import, a Service that gives it an address, and the others' endpoints.

Which endpoints: Pods in the cluster itself and in its network; of a cluster in another network what leads into it
from outside (load balancer, external addresses, nodes' ports). Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from cluster.machinery.objects import Key, Object
from federation.dns.addresses import facts_of, wants_nodes
from federation.multicluster.kinds import (
    CLUSTER_LABEL,
    IMPORTED,
    MANAGED_BY,
    SERVICE_LABEL,
    SERVICE_NAME,
    VERSION,
    derived_name,
    slice_name,
)
from federation.multicluster.merge import Export, Merged

MANAGER = "federation.hanse.io"


@dataclass(frozen=True, slots=True)
class Imported:
    """Objects as they shall be in one cluster; the import's addresses are filled in once its Service has them."""

    service_import: Object
    clusters: tuple[str, ...]
    """For the import's status."""
    service: Object | None
    """None for a headless import."""
    slices: tuple[Object, ...]


def imported(key: Key, merged: Merged, cluster: str, network: str) -> Imported:
    """For `cluster`; `merged.spec` is there."""
    spec = merged.spec or {}
    service = _service(key, spec) if spec["type"] == "ClusterSetIP" else None
    parent = service["metadata"]["name"] if service else ""
    slices = [each for export in merged.members for each in _slices(key, export, cluster, network, parent)]
    metadata = _metadata(key, key.name)
    metadata["labels"] |= merged.labels
    if merged.annotations:
        metadata["annotations"] = merged.annotations
    service_import = {"apiVersion": VERSION, "kind": "ServiceImport", "metadata": metadata, "spec": dict(spec)}
    clusters = tuple(sorted(export.cluster for export in merged.members))
    return Imported(service_import, clusters, service, tuple(slices))


def _metadata(key: Key, name: str) -> Object:
    return {"name": name, "namespace": key.namespace, "labels": {IMPORTED: _label(key.name)}}


def _label(name: str) -> str:
    return name[:63].rstrip("-.")


def _service(key: Key, spec: Object) -> Object:
    """Without a selector: its endpoints are the slices below."""
    ports = [{**port, "targetPort": port["port"]} for port in spec["ports"]]
    wanted: Object = {"type": "ClusterIP", "ports": ports, "sessionAffinity": spec["sessionAffinity"]}
    if "sessionAffinityConfig" in spec:
        wanted["sessionAffinityConfig"] = spec["sessionAffinityConfig"]
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(key, derived_name(key)), "spec": wanted}


def _slices(key: Key, export: Export, cluster: str, network: str, service: str) -> Iterable[Object]:
    service_object = export.service or {}
    near = export.cluster == cluster or (bool(network) and network == export.network)
    apart = export.cluster != cluster and bool(network) and bool(export.network) and network != export.network
    outside = [] if near or export.is_headless else _from_outside(service_object, export)
    for number, (family, addresses, ports) in enumerate(outside):
        endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
        yield _slice(key, export, f"outside-{number}", service, family, ports, endpoints)
    if outside or apart:
        return
    for each in export.slices:
        if each.get("addressType") in ("IPv4", "IPv6"):
            endpoints = [_endpoint(one) for one in each.get("endpoints") or ()]
            ports = [{field: port[field] for field in ("name", "protocol", "port", "appProtocol") if port.get(field)}
                     for port in each.get("ports") or ()]  # fmt: skip
            yield _slice(key, export, each["metadata"]["name"], service, each["addressType"], ports, endpoints)


def _endpoint(one: Object) -> Object:
    kept = {field: one[field] for field in ("addresses", "conditions", "hostname") if one.get(field)}
    return {**kept, "conditions": kept.get("conditions") or {"ready": True}}


def _from_outside(service: Object, export: Export) -> list[tuple[str, list[str], list[Object]]]:
    """(address type, addresses, ports) by which the cluster can be entered; nothing while no endpoint is ready."""
    facts = facts_of(service, export.slices, export.nodes)
    if not facts.addresses or not facts.ready:
        return []
    number = "nodePort" if wants_nodes(service) else "port"
    ports = [
        {"name": port.get("name") or "", "protocol": port.get("protocol") or "TCP", "port": port[number]}
        for port in service["spec"].get("ports") or ()
        if port.get(number)
    ]
    families = (("IPv4", 4), ("IPv6", 6))
    split = [(name, [a for a in facts.addresses if ip_address(a).version == version]) for name, version in families]
    return [(name, found, ports) for name, found in split if found]


def _slice(
    key: Key, export: Export, source: str, service: str, family: str, ports: Sequence[Object], endpoints: list[Object]
) -> Object:
    metadata = _metadata(key, slice_name(key, export.cluster, source))
    metadata["labels"] |= {SERVICE_LABEL: _label(key.name), CLUSTER_LABEL: export.cluster, MANAGED_BY: MANAGER}
    if service:
        metadata["labels"][SERVICE_NAME] = service
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": family,
        "ports": [{field: value for field, value in port.items() if value != ""} for port in ports],
        "endpoints": endpoints,
    }

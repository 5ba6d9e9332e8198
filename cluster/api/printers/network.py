"""Rows of services, endpoints, ingresses and their like."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from cluster.api.printers.ages import since
from cluster.api.printers.formats import (
    NONE,
    UNSET,
    and_more,
    labels_text,
    metadata_of,
    name_of,
    selector_text,
    spec_of,
    status_of,
)  # fmt: skip
from cluster.machinery.objects import Object

_SHOWN = 3


def _age(obj: Object, now: datetime) -> str:
    return since(metadata_of(obj).get("creationTimestamp"), now)


def service_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    addresses = spec.get("clusterIPs") or ()
    return [
        name_of(obj),
        spec.get("type") or "",
        (addresses[0] if addresses else spec.get("clusterIP")) or NONE,
        _external_addresses(obj),
        ",".join(_service_port(port) for port in spec.get("ports") or ()) or NONE,
        _age(obj, now),
        labels_text(spec.get("selector")),
    ]


def _service_port(port: Object) -> str:
    number, protocol, node_port = port.get("port") or 0, port.get("protocol") or "", port.get("nodePort")
    return f"{number}:{node_port}/{protocol}" if node_port else f"{number}/{protocol}"


def _external_addresses(service: Object) -> str:
    spec = spec_of(service)
    external: list[str] = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or NONE
        case "LoadBalancer":
            balanced = _load_balancer(status_of(service))
            return ",".join([*([balanced] if balanced else []), *external]) or "<pending>"
        case "ExternalName":
            return spec.get("externalName") or ""
        case _:
            return "<unknown>"


def _load_balancer(status: Object) -> str:
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    return ",".join(sorted({entry.get("ip") or entry.get("hostname") or "" for entry in ingress} - {""}))


def endpoints_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), _endpoints_text(obj.get("subsets") or ()), _age(obj, now)]


def _endpoints_text(subsets: Iterable[Object]) -> str:
    entries: list[str] = []
    for subset in subsets:
        ports: list[Object] = subset.get("ports") or [{}]
        hosts = [address.get("ip") or "" for address in subset.get("addresses") or ()]
        entries.extend(_host_port(host, port.get("port")) for port in ports for host in hosts)
    return and_more(entries, _SHOWN) if entries else NONE


def _host_port(host: str, port: int | None) -> str:
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoint_slice_cells(obj: Object, now: datetime) -> list[Any]:
    ports = [_slice_port(port) for port in obj.get("ports") or ()]
    addresses = [a for endpoint in obj.get("endpoints") or () for a in endpoint.get("addresses") or ()]
    return [
        name_of(obj),
        obj.get("addressType") or "",
        and_more(ports, _SHOWN) or UNSET,
        and_more(addresses, _SHOWN) or UNSET,
        _age(obj, now),
    ]


def _slice_port(port: Object) -> str:
    if port.get("port") is not None:
        return str(port["port"])
    return "*" if port.get("name") is None else str(port["name"])


def ingress_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    rules = spec.get("rules") or ()
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    return [
        name_of(obj),
        NONE if spec.get("ingressClassName") is None else spec["ingressClassName"],
        and_more(hosts, _SHOWN, len(rules) if len(hosts) > _SHOWN else len(hosts)) or "*",
        _load_balancer(status_of(obj)),
        "80, 443" if spec.get("tls") else "80",
        _age(obj, now),
    ]


def ingress_class_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    parameters, text = spec.get("parameters"), NONE
    if parameters:
        group = parameters.get("apiGroup")
        kind = parameters.get("kind") or ""
        text = f"{kind}.{group}/{parameters.get('name')}" if group is not None else f"{kind}/{parameters.get('name')}"
    return [name_of(obj), spec.get("controller") or "", text, _age(obj, now)]


def network_policy_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), selector_text(spec_of(obj).get("podSelector")), _age(obj, now)]


def service_cidr_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), ",".join(spec_of(obj).get("cidrs") or ()), _age(obj, now)]


def ip_address_cells(obj: Object, now: datetime) -> list[Any]:
    parent = spec_of(obj).get("parentRef")
    if not parent:
        return [name_of(obj), NONE]
    resource, group = parent.get("resource") or "", parent.get("group")
    kind = f"{resource}.{group}" if group else resource
    where = [kind, *([parent["namespace"]] if parent.get("namespace") else []), parent.get("name") or ""]
    return [name_of(obj), "/".join(where)]

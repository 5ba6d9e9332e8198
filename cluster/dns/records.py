"""
Which DNS records a Service and its EndpointSlices stand for. Pure.

    <service>.<namespace>.svc.<domain>                       A of the cluster IP, or of every ready endpoint (headless)
    <hostname|dashed-ip>.<service>.<namespace>.svc.<domain>  A of one endpoint of a headless Service
    _<port>._<protocol>.<service>.<namespace>.svc.<domain>   SRV
    <d.c.b.a>.in-addr.arpa                                   PTR back to the name
    ExternalName                                             CNAME

Called by   cluster.dns.zone, once a Service, when it or its slices changed.
Not here    names made of a pod's address (zone.py answers them without any object).
Source: Kubernetes DNS-Based Service Discovery, schema version 1.1.0.
"""

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple

from cluster.dns.names import encode_name, reverse_name
from cluster.dns.wire import Type, srv_rdata
from cluster.machinery.objects import Object

SCHEMA_VERSION = "1.1.0"

Records = dict[bytes, dict[int, list[bytes]]]
"""Owner name -> record type -> rdata of each record."""


class Port(NamedTuple):
    name: str
    protocol: str
    """Lower case, as it stands in an SRV name."""
    number: int


def service_records(service: Object, slices: Iterable[Object], domain: str) -> Records:
    """
    Every record of one Service.

    Args:
        slices: its EndpointSlices; only read when it is headless.
        domain: `cluster.local`.
    """
    metadata = service["metadata"]
    spec = service.get("spec") or {}
    base = f"{metadata['name']}.{metadata['namespace']}.svc.{domain}"
    records: Records = {}
    if spec.get("type") == "ExternalName":
        _external_name(records, base, spec.get("externalName") or "")
    elif spec.get("clusterIP") == "None":
        _headless(records, base, slices)
    else:
        _cluster_ip(records, base, spec)
    return records


def _external_name(records: Records, base: str, target: str) -> None:
    try:
        IPv4Address(target)
    except AddressValueError:
        pass
    else:
        add(records, base, Type.A, _ipv4(target))
        return
    if target:
        try:
            add(records, base, Type.CNAME, encode_name(target))
        except ValueError:
            return  # validated by the apiserver; a name that is none has no records


def _cluster_ip(records: Records, base: str, spec: Object) -> None:
    addresses = [a for a in (spec.get("clusterIPs") or [spec.get("clusterIP") or ""]) if _is_ipv4(a)]
    for address in addresses:
        add(records, base, Type.A, _ipv4(address))
        _add_raw(records, reverse_name(address), Type.PTR, encode_name(base))
    for port in ports_of(spec.get("ports")) if addresses else ():
        add_srv(records, base, port, base)


def _headless(records: Records, base: str, slices: Iterable[Object]) -> None:
    for each in slices:
        if each.get("addressType") != "IPv4":
            continue
        ports = ports_of(each.get("ports"))
        for endpoint in each.get("endpoints") or ():
            # An unknown readiness counts as ready: EndpointSlice API, conditions.ready.
            if (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            for address in endpoint.get("addresses") or ():
                if _is_ipv4(address):
                    _endpoint(records, base, endpoint.get("hostname") or address.replace(".", "-"), address, ports)


def _endpoint(records: Records, base: str, hostname: str, address: str, ports: Iterable[Port]) -> None:
    name = f"{hostname}.{base}"
    add(records, base, Type.A, _ipv4(address))
    add(records, name, Type.A, _ipv4(address))
    _add_raw(records, reverse_name(address), Type.PTR, encode_name(name))
    for port in ports:
        add_srv(records, base, port, name)


def ports_of(ports: Iterable[Object] | None) -> list[Port]:
    """Of a Service, an import or a slice; one without a number, which a slice may have, leads nowhere."""
    return [
        Port(port.get("name") or "", (port.get("protocol") or "TCP").lower(), port["port"])
        for port in ports or ()
        if port.get("port")
    ]


def add_srv(records: Records, base: str, port: Port, target: str) -> None:
    """What a port of `base` is answered with, by its name and, all of them, by the Service's."""
    rdata = srv_rdata(port.number, encode_name(target))
    if port.name:
        add(records, f"_{port.name}._{port.protocol}.{base}", Type.SRV, rdata)
    add(records, base, Type.SRV, rdata)


def add(records: Records, name: str, rtype: Type, rdata: bytes) -> None:
    """Once, however often it is added. Raises ValueError: that is no name."""
    _add_raw(records, encode_name(name), rtype, rdata)


def _add_raw(records: Records, name: bytes, rtype: Type, rdata: bytes) -> None:
    rdatas = records.setdefault(name, {}).setdefault(rtype, [])
    if rdata not in rdatas:
        rdatas.append(rdata)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _ipv4(text: str) -> bytes:
    return IPv4Address(text).packed


def pod_address(label: bytes) -> bytes | None:
    """`10-244-1-7` -> its four bytes; None when the label is not an address with dashes."""
    parts = label.split(b"-")
    if len(parts) != 4 or not all(part.isdigit() and len(part) <= 3 for part in parts):
        return None
    numbers = [int(part) for part in parts]
    return bytes(numbers) if max(numbers) < 256 else None

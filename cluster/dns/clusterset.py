"""
Which DNS records a ServiceImport and its EndpointSlices stand for. Pure.

    <service>.<namespace>.svc.clusterset.local                      A, AAAA of the import's IPs, or of ready endpoints
    _<port>._<protocol>.<service>.<namespace>.svc.clusterset.local  SRV
    <host>.<cluster>.<service>.<namespace>.svc.clusterset.local     A, AAAA of one endpoint of a headless Service

A name with a cluster in it is for headless Services alone. An import without IPs of its own, which a set of
clusters without a common network has, is answered with the addresses at which the other clusters can be reached.
Source: Multi-Cluster Services API, DNS specification 1.0.0.
"""

from collections.abc import Iterable
from ipaddress import ip_address

from cluster.dns.names import encode_name
from cluster.dns.records import Records, add, add_srv, ports_of
from cluster.dns.wire import Type
from cluster.machinery.objects import Object

CLUSTERSET_DOMAIN = "clusterset.local"
CLUSTERSET_VERSION = "1.0.0"
SERVICE_LABEL = "multicluster.kubernetes.io/service-name"
CLUSTER_LABEL = "multicluster.kubernetes.io/source-cluster"


def import_records(service_import: Object, slices: Iterable[Object], domain: str = CLUSTERSET_DOMAIN) -> Records:
    """Every record of one ServiceImport; the name itself is there even while nothing answers for it."""
    metadata, spec = service_import["metadata"], service_import.get("spec") or {}
    base = f"{metadata['name']}.{metadata['namespace']}.svc.{domain}"
    records: Records = {encode_name(base): {}}
    if spec.get("type") == "Headless":
        for each in slices:
            _headless(records, base, each)
        return records
    addresses = spec.get("ips") or [address for each in slices for _, address in ready_addresses(each)]
    for address in addresses:
        _add_address(records, base, address)
    if records[encode_name(base)]:
        for port in ports_of(spec.get("ports")):
            add_srv(records, base, port, base)
    return records


def _headless(records: Records, base: str, each: Object) -> None:
    labels = each["metadata"].get("labels") or {}
    cluster, ports = labels.get(CLUSTER_LABEL) or "", ports_of(each.get("ports"))
    for hostname, address in ready_addresses(each):
        host = hostname or address.replace(".", "-").replace(":", "-")
        name = f"{host}.{cluster}.{base}" if cluster else base
        _add_address(records, base, address)
        _add_address(records, name, address)
        for port in ports:
            add_srv(records, base, port, name)


def ready_addresses(each: Object) -> Iterable[tuple[str, str]]:
    """(hostname or empty, address) of endpoints that take traffic; an unknown readiness counts as ready."""
    for endpoint in each.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is not False:
            for address in endpoint.get("addresses") or ():
                yield endpoint.get("hostname") or "", address


def _add_address(records: Records, name: str, address: str) -> None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return  # an FQDN slice: a name is no address
    add(records, name, Type.A if parsed.version == 4 else Type.AAAA, parsed.packed)

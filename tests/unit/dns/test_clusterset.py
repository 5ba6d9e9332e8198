"""Names of imported Services, as the Multi-Cluster Services API's DNS specification has them."""

from ipaddress import IPv4Address
from typing import Any

import dns.message
import pytest

from cluster.dns.clusterset import import_records
from cluster.dns.records import service_records
from cluster.dns.wire import parse_query, query_flags
from cluster.dns.zone import Zone
from cluster.machinery.objects import Key

DOMAIN = "clusterset.local"
PORTS = [{"name": "http", "protocol": "TCP", "port": 80}, {"protocol": "UDP", "port": 53}]


def made(name: str, kind: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"type": kind, "ports": PORTS, **spec}}


def endpoints(cluster: str, *addresses: str, hostname: str = "", ready: bool = True) -> dict[str, Any]:
    one = {"addresses": list(addresses), "conditions": {"ready": ready}, **({"hostname": hostname} if hostname else {})}
    labels = {"multicluster.kubernetes.io/source-cluster": cluster}
    return {
        "metadata": {"labels": labels},
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [one],
    }


@pytest.fixture
def zone() -> Zone:
    zone = Zone("cluster.local", IPv4Address("10.96.0.10").packed, ["10.96.0.0/16"])
    zone.synced = True
    zone.serve_clusterset(True)
    imports = {
        "ip": import_records(made("ip", "ClusterSetIP", ips=["10.112.0.7", "fd00::7"]), []),
        "web": import_records(made("web", "ClusterSetIP"), [
            endpoints("a", "192.0.2.1"), endpoints("b", "2001:db8::2"), endpoints("c", "192.0.2.3", ready=False)]),
        "idle": import_records(made("idle", "ClusterSetIP"), [endpoints("a", "192.0.2.3", ready=False)]),
        "db": import_records(made("db", "Headless"), [
            endpoints("a", "10.1.0.1", hostname="db-0"), endpoints("b", "10.2.0.1", hostname="db-0"),
            endpoints("b", "fd00::9")]),
    }  # fmt: skip
    for name, records in imports.items():
        zone.put(Key("import:shop", name), records)
    return zone


def answers(zone: Zone, name: str, rtype: str = "A") -> list[str] | None:
    """None: there is no such name."""
    query = parse_query(dns.message.make_query(name, rtype).to_wire())
    answer = zone.answer(query.name, query.type, query.key)
    assert answer is not None
    read = dns.message.from_wire(answer.message(query.identity, query_flags(query), query.question, query.opt))
    return None if read.rcode() else sorted(one.to_text() for rrset in read.answer for one in rrset)


@pytest.mark.parametrize(
    ("name", "rtype", "wanted"),
    [
        ("ip.shop.svc", "A", ["10.112.0.7"]),
        ("ip.shop.svc", "AAAA", ["fd00::7"]),
        ("_http._tcp.ip.shop.svc", "SRV", ["0 100 80 ip.shop.svc.clusterset.local."]),
        ("web.shop.svc", "A", ["192.0.2.1"]),
        ("web.shop.svc", "AAAA", ["2001:db8::2"]),
        ("_http._tcp.web.shop.svc", "SRV", ["0 100 80 web.shop.svc.clusterset.local."]),
        ("idle.shop.svc", "A", []),
        ("_http._tcp.idle.shop.svc", "SRV", None),
        ("a.web.shop.svc", "A", None),  # a cluster's name is for headless Services alone
        ("db.shop.svc", "A", ["10.1.0.1", "10.2.0.1"]),
        ("db.shop.svc", "AAAA", ["fd00::9"]),
        ("db-0.a.db.shop.svc", "A", ["10.1.0.1"]),
        ("db-0.b.db.shop.svc", "A", ["10.2.0.1"]),
        ("fd00--9.b.db.shop.svc", "AAAA", ["fd00::9"]),
        ("_http._tcp.db.shop.svc", "SRV", [
            "0 100 8080 db-0.a.db.shop.svc.clusterset.local.", "0 100 8080 db-0.b.db.shop.svc.clusterset.local.",
            "0 100 8080 fd00--9.b.db.shop.svc.clusterset.local."]),
        ("nobody.shop.svc", "A", None),
        ("dns-version", "TXT", ['"1.0.0"']),
    ],
)  # fmt: skip
def test_imported_services_have_their_names(zone: Zone, name: str, rtype: str, wanted: list[str] | None) -> None:
    assert answers(zone, f"{name}.{DOMAIN}", rtype) == wanted


def test_names_of_the_cluster_itself_stay_as_they_are(zone: Zone) -> None:
    local = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.80", "ports": PORTS}}
    zone.put(Key("shop", "web"), service_records(local, [], "cluster.local"))
    before = answers(zone, "web.shop.svc.cluster.local")
    zone.put(Key("import:shop", "web"), import_records(made("web", "ClusterSetIP", ips=["10.96.0.81"]), []))
    assert before == answers(zone, "web.shop.svc.cluster.local") == ["10.96.0.80"]
    assert answers(zone, f"web.shop.svc.{DOMAIN}") == ["10.96.0.81"]
    zone.put(Key("import:shop", "web"), {})
    assert answers(zone, "web.shop.svc.cluster.local") == ["10.96.0.80"]
    assert answers(zone, f"web.shop.svc.{DOMAIN}") is None


def test_without_the_kind_the_zone_is_not_ours(zone: Zone) -> None:
    assert zone.authority_for(b"\x0aclusterset\x05local\x00") is not None
    zone.serve_clusterset(False)
    assert zone.authority_for(b"\x0aclusterset\x05local\x00") is None

"""Names of federations in a cluster's zone, and the settings they come from."""

import asyncio
from ipaddress import IPv4Address
from typing import Any

import dns.message
import dns.rdatatype
import pytest

from cluster.dns.federations import ConfigError, NameSettings, read_config_map, read_forward_zone, stub_zones
from cluster.dns.forwarding import Forwarder
from cluster.dns.live_settings import location
from cluster.dns.names import encode_name
from cluster.dns.records import service_records
from cluster.dns.routes import Routes
from cluster.dns.wire import parse_query, query_flags
from cluster.dns.zone import Zone
from cluster.machinery.objects import Key


@pytest.fixture
def zone() -> Zone:
    made = Zone("cluster.local", IPv4Address("10.96.0.10").packed, ["10.96.0.0/16"])
    made.synced = True
    for name, spec in (("web", {"clusterIP": "10.96.7.7"}), ("idle", {"clusterIP": "10.96.7.8"}),
                       ("db", {"clusterIP": "None"})):  # fmt: skip
        service = {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}
        slices = [{"addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.1"], "hostname": "fed"}]}]
        made.put(Key("shop", name), service_records(service, slices, "cluster.local"))
        made.set_ready(Key("shop", name), name != "idle")
    made.set_federations({"fed": "example.com", "shop": "example.org"})
    made.set_location("z1", "r1")
    return made


def answers(zone: Zone, name: str, rtype: str = "A") -> list[str] | None:
    """None: there is no such name."""
    wire = dns.message.make_query(name, rtype).to_wire()
    query = parse_query(wire)
    answer = zone.answer(query.name, query.type, query.key)
    assert answer is not None
    read = dns.message.from_wire(answer.message(query.identity, query_flags(query), query.question, query.opt))
    found = [one.to_text() for rrset in read.answer for one in rrset]
    return None if read.rcode() else found


LOCAL = "shop.svc.cluster.local."


def test_a_service_with_endpoints_here_is_answered_from_here(zone: Zone) -> None:
    assert answers(zone, "web.shop.fed.svc.cluster.local") == [f"web.{LOCAL}", "10.96.7.7"]
    assert answers(zone, "WEB.Shop.FED.svc.cluster.local", "AAAA") == [f"web.{LOCAL}"]


def test_a_service_without_endpoints_here_or_none_at_all_is_looked_for_in_the_federation(zone: Zone) -> None:
    for name in ("idle", "elsewhere"):
        assert answers(zone, f"{name}.shop.fed.svc.cluster.local") == [f"{name}.shop.fed.svc.z1.r1.example.com."]
    zone.set_ready(Key("shop", "web"), False)
    assert answers(zone, "web.shop.fed.svc.cluster.local") == ["web.shop.fed.svc.z1.r1.example.com."]
    zone.set_ready(Key("shop", "web"), True)
    zone.put(Key("shop", "web"), None)
    assert answers(zone, "web.shop.fed.svc.cluster.local") == ["web.shop.fed.svc.z1.r1.example.com."]
    zone.set_location("", "")
    assert answers(zone, "web.shop.fed.svc.cluster.local") == ["web.shop.fed.svc.example.com."]


def test_only_whole_names_of_known_federations_are_federated(zone: Zone) -> None:
    for name in ("web.shop.other.svc", "fed.svc", "shop.fed.svc", "a.web.shop.fed.svc", "web.shop.fed.pod", "fed"):
        assert answers(zone, f"{name}.cluster.local") is None
    # names of endpoints in a namespace that is called as a federation stay what they are
    assert answers(zone, "fed.db.shop.svc.cluster.local") == ["10.244.0.1"]
    zone.set_federations({})
    assert answers(zone, "web.shop.fed.svc.cluster.local") is None


def test_the_config_map_is_read_as_kube_dns_reads_it_and_errors_name_the_key() -> None:
    settings = read_config_map({
        "federations": "fed=example.com., f2 = b.example.com",
        "stubDomains": '{"example.com": ["192.0.2.1:5353", "192.0.2.2"], "V6.test": "2001:db8::1"}',
        "upstreamNameservers": '["192.0.2.53"]',
    })  # fmt: skip
    assert settings == NameSettings(
        {"fed": "example.com", "f2": "b.example.com"},
        {"example.com": [("192.0.2.1", 5353), ("192.0.2.2", 53)], "v6.test": [("2001:db8::1", 53)]},
        [("192.0.2.53", 53)],
    )
    assert read_config_map({}) == NameSettings(upstream=[])
    assert read_config_map({"federations": ""}).over(settings) == settings
    assert read_forward_zone("a.test=[::1]:54,192.0.2.1") == ("a.test", [("::1", 54), ("192.0.2.1", 53)])
    wrong: dict[str, Any] = {
        "federations": ("fed", "a.b=c", "=x", f"fed={'x' * 64}"),
        "stubDomains": ("{", "[]", '{"a": ["host"]}', '{"a": []}', '{"": ["192.0.2.1"]}', '{"a": ["192.0.2.1:99999"]}'),
        "upstreamNameservers": ("5", '["a"]', '["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]'),
    }
    for key, texts in wrong.items():
        for text in texts:
            with pytest.raises(ConfigError):
                read_config_map({key: text})


def test_the_zone_and_region_are_read_from_new_and_old_labels_of_nodes() -> None:
    def node(**labels: str) -> dict[str, Any]:
        known = {"zone": "topology.kubernetes.io/zone", "region": "topology.kubernetes.io/region",
                 "old_zone": "failure-domain.beta.kubernetes.io/zone",
                 "old_region": "failure-domain.beta.kubernetes.io/region"}  # fmt: skip
        return {"metadata": {"labels": {known[name]: value for name, value in labels.items()}}}

    assert location([node(), node(region="r1"), node(zone="z2", region="r2")]) == ("z2", "r2")
    assert location([node(region="r1"), node()]) == ("", "r1")
    assert location([node(old_zone="z", old_region="r")]) == ("z", "r")
    assert location([]) == ("", "")


async def test_each_zone_has_its_resolvers_and_keeps_them_while_others_change() -> None:
    def of(name: str) -> Forwarder:
        return routes._for(encode_name(name) + b"\0\1\0\1")

    routes = Routes([("192.0.2.9", 53)], own="10.96.0.10")
    settings = read_config_map({"stubDomains": '{"a.test": ["192.0.2.1"], "b.a.test": ["192.0.2.2", "10.96.0.10"]}'})
    routes.set_zones(stub_zones(settings))
    kept = of("x.a.test")
    assert of("a.test").resolvers == (("192.0.2.1", 53),)
    assert of("x.b.a.test").resolvers == (("192.0.2.2", 53),)
    assert of("xa.test").resolvers == of("test").resolvers == (("192.0.2.9", 53),)
    routes.set_zones([(encode_name("a.test"), [("192.0.2.1", 53)])], [("192.0.2.8", 53)])
    assert of("x.b.a.test") is kept
    assert of("test").resolvers == (("192.0.2.8", 53),)
    await asyncio.sleep(0)
    await routes.close()

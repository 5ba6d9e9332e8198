from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pytest
import yaml

from cluster.dns.records import service_records
from cluster.dns.wire import BadQuery, Rcode, parse_query, query_flags, refusal
from cluster.dns.zone import Zone
from cluster.machinery.objects import Key, Object

SCENARIO = yaml.safe_load((Path(__file__).parents[2] / "scenarios/dns/records.yaml").read_text())


@pytest.fixture(scope="module")
def zone() -> Zone:
    made = Zone("cluster.local", IPv4Address("10.96.0.10").packed, ["10.96.0.0/16", "10.244.0.0/16"])
    made.synced = True
    for each in SCENARIO["services"]:
        service: Object = {"metadata": {"name": each["name"], "namespace": "prod"}, "spec": each["spec"]}
        slices = [{"addressType": "IPv4", **s} for s in SCENARIO["slices"] if s["service"] == each["name"]]
        made.put(Key("prod", each["name"]), service_records(service, slices, "cluster.local"))
    return made


def ask(zone: Zone, name: str, rtype: str) -> dns.message.Message | None:
    wire = dns.message.make_query(name, rtype, use_edns=0, payload=1232).to_wire()
    query = parse_query(wire)
    answer = zone.answer(query.name, query.type, query.key)
    if answer is None:
        return None
    return dns.message.from_wire(answer.message(query.identity, query_flags(query), query.question, query.opt))


@pytest.mark.parametrize("case", SCENARIO["questions"], ids=lambda case: case["ask"])
def test_names_have_the_answers_of_the_specification(zone: Zone, case: dict[str, Any]) -> None:
    name, rtype = case["ask"].split()
    message = ask(zone, name, rtype)
    if case["rcode"] == "OUTSIDE":
        assert message is None
        return
    assert message is not None
    assert dns.rcode.to_text(message.rcode()) == case["rcode"]
    given = sorted(f"{dns.rdatatype.to_text(rr.rdtype)} {item}" for rr in message.answer for item in rr)
    assert given == case["answers"]
    assert any(rr.rdtype == dns.rdatatype.SOA for rr in message.authority) == case.get("soa", False)


def test_a_removed_service_leaves_no_name_behind(zone: Zone) -> None:
    service = {"metadata": {"name": "late", "namespace": "n9"}, "spec": {"clusterIP": "10.96.9.9"}}
    zone.put(Key("n9", "late"), service_records(service, [], "cluster.local"))
    zone.put(Key("n9", "late"), None)
    message = ask(zone, "n9.svc.cluster.local", "A")
    assert message is not None
    assert message.rcode() == dns.rcode.NXDOMAIN


def test_an_incomplete_zone_denies_nothing() -> None:
    empty = Zone("cluster.local", bytes(4), ["10.96.0.0/16"])
    message = ask(empty, "web.prod.svc.cluster.local", "A")
    assert message is not None
    assert message.rcode() == dns.rcode.SERVFAIL


HEAD = b"\0\1\1\0\0\1\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 11,
        b"\0\1\x80\0" + b"\0" * 8,
        HEAD,
        HEAD + b"\xc0\x0c\0\1\0\1",
        HEAD + b"\x3f" + b"a" * 30,
        HEAD + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1",
        b"\0\1\1\0\0\2\0\0\0\0\0\0\0\0\1\0\1",
        b"\0\1\x28\0\0\1\0\0\0\0\0\0\0\0\1\0\1",
    ],
)
def test_hostile_packets_are_refused_without_harm(packet: bytes) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_query(packet)
    answer = refusal(packet, caught.value)
    assert (answer is None) == (caught.value.rcode is None)
    if answer is not None:
        assert answer[:2] == packet[:2]
        assert answer[3] & 15 in (Rcode.FORMERR, Rcode.NOTIMP)


def test_an_answer_too_long_for_udp_is_cut_at_a_record(zone: Zone) -> None:
    endpoints = [{"addresses": [f"10.244.7.{i}"]} for i in range(100)]
    service = {"metadata": {"name": "many", "namespace": "prod"}, "spec": {"clusterIP": "None"}}
    zone.put(
        Key("prod", "many"),
        service_records(service, [{"addressType": "IPv4", "endpoints": endpoints}], "cluster.local"),
    )
    query = parse_query(dns.message.make_query("many.prod.svc.cluster.local", "A").to_wire())
    answer = zone.answer(query.name, query.type, query.key)
    assert answer is not None
    message = answer.truncated(query)
    assert len(message) <= 512
    parsed = dns.message.from_wire(message)
    assert parsed.flags & dns.flags.TC
    assert len(parsed.answer[0]) > 20

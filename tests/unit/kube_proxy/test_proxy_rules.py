from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.kube_proxy.conntrack import Flow, Stale, choose_stale
from cluster.kube_proxy.pod_network.plan import Mode, Observed, Peer, desired, device_mac, plan_changes
from cluster.kube_proxy.proxy import stale_flows
from cluster.kube_proxy.rules import ProxySettings, ServiceRules, compile_host_ports, compile_service
from cluster.kube_proxy.services import Backend, NodeContext, ProxiedService, read_service
from cluster.kube_proxy.table import ProxyTable
from cluster.kube_proxy.virtual_address import arp_announcement
from cluster.machinery.objects import Key

PODS = "10.244.0.0/16"
WEB = Key("default", "web")
CASES = yaml.safe_load((Path(__file__).parents[2] / "scenarios/kube_proxy/services.yaml").read_text())


def proxied(case: dict[str, Any]) -> ProxiedService | None:
    spec = dict(case["spec"])
    port = {"name": "http", "port": 80, "protocol": spec.pop("protocol", "TCP")}
    if "nodePort" in spec:
        port["nodePort"] = spec.pop("nodePort")
    service = {
        "metadata": {"name": "web", "namespace": "default", "labels": case.get("labels")},
        "spec": {**spec, "ports": [port]},
        "status": {"loadBalancer": {"ingress": case.get("ingress")}},
    }
    slices = [{"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": case["endpoints"]}]
    return read_service(service, slices, NodeContext("n1", "z1"))


def rules_of(case: dict[str, Any]) -> ServiceRules:
    service = proxied(case)
    assert service is not None
    return compile_service(WEB, service, PODS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_services_become_rules(case: dict[str, Any]) -> None:
    if case.get("ignored"):
        assert proxied(case) is None
        return
    rules = rules_of(case)
    for name, wanted in case["rules"].items():
        assert wanted.items() <= rules.elements.get(name, {}).items(), name
    for name in case.get("absent", ()):
        assert not rules.elements.get(name), name
    for verdict in rules.elements.get("service-ips", {}).values():
        assert verdict.removeprefix("goto ") in {*rules.shared_chains, *rules.own_chains}


def table() -> ProxyTable:
    return ProxyTable(ProxySettings(PODS, "10.96.0.0/16", ("10.0.0.1/32",), True))


def test_one_changed_endpoint_is_a_few_elements_and_a_second_look_nothing() -> None:
    made = table()
    case = {"spec": {"clusterIP": "10.96.0.20"}, "endpoints": [{"addresses": ["10.244.0.2"]}]}
    made.put(WEB, rules_of(case))
    assert made.transaction().startswith("add table ip hanse-proxy\ndelete table")
    made.applied()
    assert made.transaction() == ""
    made.put(WEB, rules_of({**case, "endpoints": [{"addresses": ["10.244.0.3"]}]}))
    text = made.transaction()
    assert "add element ip hanse-proxy endpoints-ip-tcp { 10.96.0.20 . 80 . 0 : 10.244.0.3 . 8080 }" in text
    assert "service-ips" not in text
    made.applied()
    assert made.transaction() == ""


def test_an_address_claimed_twice_goes_to_the_other_when_the_first_leaves() -> None:
    made = table()
    first, second = ServiceRules(), ServiceRules()
    first.put("service-ips", "192.0.2.1 . tcp . 80", "goto a")
    second.put("service-ips", "192.0.2.1 . tcp . 80", "goto b")
    made.put(Key("n", "a"), first)
    made.put(Key("n", "b"), second)
    assert "80 : goto a" in made.transaction()
    made.applied()
    made.put(Key("n", "a"), None)
    assert "80 : goto b" in made.transaction()


def test_chains_that_nobody_uses_are_emptied_first_and_removed_next_time() -> None:
    made = table()
    case = {
        "spec": {"clusterIP": "10.96.0.20", "sessionAffinity": "ClientIP"},
        "endpoints": [{"addresses": ["10.244.0.2"]}],
    }
    made.put(WEB, rules_of(case))
    made.transaction()
    made.applied()
    made.put(WEB, None)
    assert "flush chain" in made.transaction()
    assert "delete chain" not in made.transaction()
    made.applied()
    waiting = made.has_leavers
    assert waiting
    text = made.transaction()
    assert "delete chain" in text
    assert "delete set" in text
    made.applied()
    assert not made.has_leavers
    assert made.transaction() == ""


def test_udp_flows_to_a_lost_backend_are_forgotten() -> None:
    case: dict[str, Any] = {
        "spec": {"clusterIP": "10.96.0.20", "protocol": "UDP"},
        "endpoints": [{"addresses": ["10.244.0.2"]}],
    }
    old, new = proxied(case), proxied({**case, "endpoints": [{"addresses": ["10.244.0.3"]}]})
    assert stale_flows(old, new) == [Stale("10.96.0.20", 80, frozenset({Backend("10.244.0.3", 8080)}))]
    assert stale_flows(new, new) == []
    gone = Flow("10.96.0.20", 80, Backend("10.244.0.2", 8080), b"1")
    kept = Flow("10.96.0.20", 80, Backend("10.244.0.3", 8080), b"2")
    other = Flow("10.96.0.21", 80, Backend("10.244.0.2", 8080), b"3")
    assert choose_stale([gone, kept, other], stale_flows(old, new)) == [gone]


def test_host_ports_lead_to_the_pods_of_this_node() -> None:
    ports = [
        {"hostPort": 80, "containerPort": 8080},
        {"hostPort": 53, "protocol": "UDP", "containerPort": 5353, "hostIP": "10.0.0.1"},
    ]
    pod: dict[str, Any] = {
        "metadata": {},
        "spec": {"containers": [{"ports": ports}]},
        "status": {"podIP": "10.244.0.9", "phase": "Running"},
    }
    assert compile_host_ports([pod]).elements == {
        "hairpins": {"10.244.0.9 . 10.244.0.9": ""},
        "host-ports": {"tcp . 80": "10.244.0.9 . 8080"},
        "host-ports-by-ip": {"10.0.0.1 . udp . 53": "10.244.0.9 . 5353"},
    }
    assert compile_host_ports([{**pod, "spec": {**pod["spec"], "hostNetwork": True}}]).elements == {}


@pytest.mark.parametrize("mode", [Mode.VXLAN, Mode.HOST_ROUTES])
def test_the_pod_network_is_changed_only_where_it_differs(mode: Mode) -> None:
    peers = [Peer("10.0.0.2", "10.244.1.0/24"), Peer("10.0.0.3", "10.244.2.0/24")]
    wanted = desired(mode, peers)
    assert not plan_changes(mode, wanted, wanted)
    everything = plan_changes(mode, wanted, Observed({}, {}, {}))
    assert len(everything.ip) == (4 if mode is Mode.VXLAN else 2)
    fewer = plan_changes(mode, desired(mode, peers[:1]), wanted)
    assert fewer.ip[0] == "route del 10.244.2.0/24 proto 142"


def test_a_device_has_an_address_that_follows_from_its_node() -> None:
    assert device_mac("10.0.0.5") == "0e:48:0a:00:00:05"


def test_an_announcement_is_an_arp_request_for_oneself() -> None:
    frame = arp_announcement(b"\2" * 6, b"\n\0\0\x64")
    assert len(frame) == 42
    assert frame[28:32] == frame[38:42] == b"\n\0\0\x64"

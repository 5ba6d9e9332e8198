"""
kube-proxy in a namespace of its own, with the real nftables: who answers, and whom they see.

    outside 192.0.2.9 ── switch ── n1 192.0.2.1 ── pods one, two, three 10.244.0.{11,12,13}
                            └───── n2 192.0.2.2, with a pod's address 10.244.1.21 of its own
"""

import collections
import contextlib
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.network_api import ClusterApi, cluster_api
from tests.integration.network_namespaces import (
    Echo,
    Namespace,
    Relay,
    add_pod,
    ask_tcp,
    ask_udp,
    attach,
    eventually,
    lacking,
    namespaces,
    service,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.skipif(bool(lacking()), reason=lacking())]

PODS = {"one": "10.244.0.11", "two": "10.244.0.12", "three": "10.244.0.13"}
REMOTE = "10.244.1.21"
NODE = "192.0.2.1"


@dataclass
class Lab:
    api: ClusterApi
    node: Namespace
    outside: Namespace
    pods: dict[str, Namespace]
    directory: Path
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self) -> None:
        flags = [f"--kubeconfig={self.api.kubeconfig}", "--hostname-override=n1", f"--node-ip={NODE}"]
        proxy = service(
            self.node, "cluster.kube_proxy", *flags, "--pod-network=none", directory=self.directory
        )  # fmt: skip
        self.running.enter_context(proxy)

    def stop(self) -> None:
        self.running.close()

    def table(self) -> str:
        return self.node.run("nft", "list", "ruleset")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("network")
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(cluster_api(directory))
        switch, node, other, outside, *pods = stack.enter_context(
            namespaces("switch", "n1", "n2", "outside", *PODS)
        )  # fmt: skip
        for port, (host, address) in enumerate([(node, NODE), (other, "192.0.2.2"), (outside, "192.0.2.9")]):
            attach(switch, f"port{port}", host, f"{address}/24")
        node.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for pod, address in zip(pods, PODS.values(), strict=True):
            add_pod(node, pod, address, "10.244.0.1")
            stack.callback(Echo(pod, 8080).close)
        other.ip(f"address add {REMOTE}/32 dev lo")
        node.ip("route add 10.244.1.0/24 via 192.0.2.2")
        other.ip("route add 10.244.0.0/24 via 192.0.2.1")
        node.ip("route add default via 192.0.2.9")  # as every host's, Service addresses need some route
        outside.ip(f"route add default via {NODE}")
        stack.callback(Echo(other, 8080, "remote").close)
        stack.callback(Relay(node, ("127.0.0.1", 6443), ("127.0.0.1", api.port)).close)
        api.node("n1", NODE, "10.244.0.0/24")
        api.node("n2", "192.0.2.2", "10.244.1.0/24")
        running = Lab(api, node, outside, dict(zip(PODS, pods, strict=True)), directory)
        try:
            running.start()
            yield running
        finally:
            running.stop()


def served(where: Namespace, address: str, port: int) -> Callable[[], bool]:
    def check() -> bool:
        with contextlib.suppress(OSError):
            return bool(ask_tcp(where, address, port, timeout=0.5)[0])
        return False

    return check


def refused(where: Namespace, address: str, port: int) -> bool:
    try:
        ask_tcp(where, address, port, timeout=0.7)
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    return False


def silent(where: Namespace, address: str, port: int) -> bool:
    try:
        ask_tcp(where, address, port, timeout=0.7)
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def test_a_cluster_ip_answers_to_pods_and_to_the_host(lab: Lab) -> None:
    address = lab.api.service("plain")["clusterIP"]
    lab.api.endpoints("plain", PODS["two"])
    eventually(served(lab.pods["one"], address, 80), "the Service answers")
    assert ask_tcp(lab.pods["one"], address, 80) == ("two", PODS["one"])
    assert ask_tcp(lab.node, address, 80)[0] == "two"
    assert ask_tcp(lab.outside, address, 80) == ("two", "10.244.0.1")  # masqueraded: answers have to come back here


def test_a_pod_reaches_itself_through_its_service(lab: Lab) -> None:
    address = lab.api.service("mirror")["clusterIP"]
    lab.api.endpoints("mirror", PODS["one"])
    eventually(served(lab.pods["two"], address, 80), "the Service answers")
    assert ask_tcp(lab.pods["one"], address, 80) == ("one", "10.244.0.1")


def test_connections_are_split_fairly(lab: Lab) -> None:
    address = lab.api.service("fair")["clusterIP"]
    lab.api.endpoints("fair", *PODS.values())
    eventually(served(lab.pods["one"], address, 80), "the Service answers")
    seen = collections.Counter(ask_tcp(lab.pods["one"], address, 80)[0] for _ in range(300))
    # 100 expected each, deviation 8.2: five of them are a fault in two million runs.
    assert set(seen) == set(PODS)
    assert all(60 <= count <= 140 for count in seen.values()), seen


def test_a_service_without_endpoints_refuses_until_it_has_one(lab: Lab) -> None:
    spec = lab.api.service("empty", type="NodePort")
    address, node_port = spec["clusterIP"], spec["ports"][0]["nodePort"]
    for where in (lab.pods["one"], lab.node, lab.outside):
        eventually(lambda where=where: refused(where, address, 80), "the address refuses")  # type: ignore[misc]
    assert refused(lab.outside, NODE, node_port)
    lab.api.endpoints("empty", PODS["one"])
    eventually(served(lab.pods["two"], address, 80), "the first endpoint is used")
    lab.api.endpoints("empty")
    eventually(lambda: refused(lab.pods["two"], address, 80), "without endpoints it refuses again")


def test_a_port_that_no_service_has_is_refused(lab: Lab) -> None:
    address = lab.api.service("narrow")["clusterIP"]
    lab.api.endpoints("narrow", PODS["one"])
    eventually(served(lab.pods["two"], address, 80), "the Service answers")
    assert refused(lab.pods["two"], address, 81)
    assert refused(lab.node, address, 81)


def test_packets_to_unused_service_addresses_go_nowhere(lab: Lab) -> None:
    assert silent(lab.pods["one"], "10.96.250.250", 80)


def test_a_node_port_answers_outside_inside_and_on_the_host(lab: Lab) -> None:
    spec = lab.api.service("open", type="NodePort")
    port = spec["ports"][0]["nodePort"]
    lab.api.endpoints("open", REMOTE, node="n2")
    eventually(served(lab.outside, NODE, port), "the node port answers")
    assert ask_tcp(lab.outside, NODE, port) == ("remote", NODE)
    assert ask_tcp(lab.pods["one"], NODE, port)[0] == "remote"
    assert ask_tcp(lab.node, NODE, port)[0] == "remote"
    assert refused(lab.node, "127.0.0.1", port)  # only --nodeport-addresses, which is the node's own


def test_a_client_with_affinity_stays_with_its_endpoint_while_it_exists(lab: Lab) -> None:
    spec = lab.api.service("sticky", type="NodePort", sessionAffinity="ClientIP")
    address, port = spec["clusterIP"], spec["ports"][0]["nodePort"]
    lab.api.endpoints("sticky", *PODS.values())
    eventually(served(lab.node, address, 80), "the Service answers")
    for where in lab.pods.values():
        assert len({ask_tcp(where, address, 80)[0] for _ in range(20)}) == 1
    assert len({ask_tcp(lab.outside, NODE, port)[0] for _ in range(20)}) == 1
    chosen, _ = ask_tcp(lab.outside, address, 80)
    others = [ip for name, ip in PODS.items() if name != chosen]
    lab.api.endpoints("sticky", *others)
    eventually(lambda: ask_tcp(lab.outside, address, 80)[0] != chosen, "another endpoint is used")
    assert len({ask_tcp(lab.outside, address, 80)[0] for _ in range(20)}) == 1


def test_a_local_policy_keeps_the_clients_address_and_drops_without_an_endpoint_here(lab: Lab) -> None:
    spec = lab.api.service("here", type="NodePort", externalTrafficPolicy="Local")
    port = spec["ports"][0]["nodePort"]
    lab.api.endpoints("here", PODS["one"])
    eventually(served(lab.outside, NODE, port), "the node port answers")
    assert ask_tcp(lab.outside, NODE, port) == ("one", "192.0.2.9")
    lab.api.endpoints("here", REMOTE, node="n2")
    eventually(lambda: silent(lab.outside, NODE, port), "nothing is here any more")
    # Pods and the node itself are not bound by the policy.
    assert ask_tcp(lab.pods["one"], NODE, port)[0] == "remote"
    assert ask_tcp(lab.node, NODE, port)[0] == "remote"


def test_a_load_balancers_health_port_tells_of_local_endpoints(lab: Lab) -> None:
    spec = lab.api.service("balanced", type="LoadBalancer", externalTrafficPolicy="Local")
    port = spec["healthCheckNodePort"]

    def count() -> tuple[int, str]:
        with lab.node.socket() as client:
            client.settimeout(1)
            client.connect((NODE, port))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
        return int(answer.split()[1]), answer

    def tells(status: int) -> Callable[[], bool]:
        def check() -> bool:
            with contextlib.suppress(OSError):
                return count()[0] == status
            return False

        return check

    eventually(tells(503), "no endpoint is here")
    lab.api.endpoints("balanced", PODS["one"], PODS["two"])
    eventually(tells(200), "endpoints are here")
    assert '"localEndpoints":2' in count()[1]
    path = "/api/v1/namespaces/default/services/balanced"
    wide = {"spec": {"externalTrafficPolicy": "Cluster"}}
    after = lab.api.call("PATCH", path, wide, "application/merge-patch+json")["spec"]
    assert "healthCheckNodePort" not in after

    def closed() -> bool:
        try:
            count()
        except ConnectionRefusedError:
            return True
        return False

    eventually(closed, "the health port is closed")


def test_external_addresses_lead_to_the_service(lab: Lab) -> None:
    lab.api.service("outer", externalIPs=["198.51.100.7"])
    lab.api.endpoints("outer", PODS["two"])
    eventually(served(lab.outside, "198.51.100.7", 80), "the external address answers")
    assert ask_tcp(lab.pods["one"], "198.51.100.7", 80)[0] == "two"
    assert ask_tcp(lab.node, "198.51.100.7", 80)[0] == "two"


def test_a_balancers_address_admits_only_its_source_ranges(lab: Lab) -> None:
    spec = lab.api.service("fenced", type="LoadBalancer", loadBalancerSourceRanges=["203.0.113.0/24"])
    path = "/api/v1/namespaces/default/services/fenced"
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}]}}}
    lab.api.call("PATCH", f"{path}/status", status, "application/merge-patch+json")
    lab.api.endpoints("fenced", PODS["one"])
    eventually(served(lab.pods["two"], spec["clusterIP"], 80), "the Service answers")
    assert silent(lab.outside, "198.51.100.8", 80)
    admitted = {"spec": {"loadBalancerSourceRanges": ["192.0.2.9/32"]}}
    lab.api.call("PATCH", path, admitted, "application/merge-patch+json")
    eventually(served(lab.outside, "198.51.100.8", 80), "the client is admitted")


def test_an_internal_local_policy_keeps_to_this_node(lab: Lab) -> None:
    address = lab.api.service("near", internalTrafficPolicy="Local")["clusterIP"]
    here = {"addresses": [PODS["one"]], "nodeName": "n1", "conditions": {"ready": True}}
    there = {"addresses": [REMOTE], "nodeName": "n2", "conditions": {"ready": True}}
    lab.api.endpoints("near", here, there)
    eventually(served(lab.pods["two"], address, 80), "the Service answers")
    assert {ask_tcp(lab.pods["two"], address, 80)[0] for _ in range(20)} == {"one"}
    lab.api.endpoints("near", there)
    eventually(lambda: silent(lab.pods["two"], address, 80), "nothing is here any more")


def test_host_ports_lead_to_the_pod_and_keep_the_client(lab: Lab) -> None:
    lab.api.call("POST", "/api/v1/namespaces/default/serviceaccounts", _account())
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "exposed"},
        "spec": {
            "nodeName": "n1",
            "containers": [
                {
                    "name": "c",
                    "image": "web:1",
                    "ports": [
                        {"containerPort": 8080, "hostPort": 8888},
                        {"containerPort": 8080, "hostPort": 8888, "protocol": "UDP"},
                    ],
                },
            ],
        },
    }
    path = "/api/v1/namespaces/default/pods/exposed"

    def create(address: str) -> None:
        lab.api.call("POST", "/api/v1/namespaces/default/pods", body)
        status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
        lab.api.call("PATCH", f"{path}/status", status, "application/merge-patch+json")

    create(PODS["three"])
    eventually(served(lab.outside, NODE, 8888), "the host port answers")
    assert ask_tcp(lab.outside, NODE, 8888) == ("three", "192.0.2.9")
    assert ask_udp(lab.outside, NODE, 8888) == ("three", "192.0.2.9")
    assert ask_tcp(lab.node, NODE, 8888)[0] == "three"
    assert ask_tcp(lab.pods["three"], NODE, 8888)[0] == "three"
    lab.api.call("DELETE", path, {"gracePeriodSeconds": 0})
    eventually(lambda: refused(lab.outside, NODE, 8888), "the host port is closed")
    with lab.outside.socket(socket.SOCK_DGRAM) as client:

        def answered(by: str) -> bool:
            with contextlib.suppress(OSError):
                return ask_udp(lab.outside, NODE, 8888, client=client, timeout=0.3)[0] == by
            return False

        assert not answered("three")
        create(PODS["three"])
        eventually(lambda: answered("three"), "a client that was early is served")
        lab.api.call("DELETE", path, {"gracePeriodSeconds": 0})
        create(PODS["one"])
        eventually(lambda: answered("one"), "the same client follows the port to another pod")
    lab.api.call("DELETE", path, {"gracePeriodSeconds": 0})


def _account() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}


def test_udp_clients_leave_an_endpoint_that_is_gone(lab: Lab) -> None:
    port = [{"name": "http", "port": 53, "protocol": "UDP", "targetPort": 8080}]
    behind = [{"name": "http", "port": 8080, "protocol": "UDP"}]
    spec = lab.api.service("datagrams", ports=port, type="NodePort")
    address, node_port = spec["clusterIP"], spec["ports"][0]["nodePort"]
    lab.api.endpoints("datagrams", PODS["one"], ports=behind)

    def answered() -> bool:
        with contextlib.suppress(OSError):
            return ask_udp(lab.pods["two"], address, 53, timeout=0.3)[0] == "one"
        return False

    eventually(answered, "the Service answers")
    with lab.pods["two"].socket(socket.SOCK_DGRAM) as inner, lab.outside.socket(socket.SOCK_DGRAM) as outer:
        assert ask_udp(lab.pods["two"], address, 53, client=inner)[0] == "one"
        assert ask_udp(lab.outside, NODE, node_port, client=outer)[0] == "one"
        lab.api.endpoints("datagrams", PODS["three"], ports=behind)

        def moved(where: Namespace, whom: str, number: int, client: socket.socket) -> bool:
            with contextlib.suppress(OSError):
                return ask_udp(where, whom, number, client=client, timeout=0.3)[0] == "three"
            return False

        eventually(lambda: moved(lab.pods["two"], address, 53, inner), "the same port reaches the new endpoint")
        eventually(lambda: moved(lab.outside, NODE, node_port, outer), "the same port outside does too")


def test_udp_clients_that_were_early_reach_the_first_endpoint(lab: Lab) -> None:
    port = [{"name": "http", "port": 54, "protocol": "UDP", "targetPort": 8080}]
    address = lab.api.service("early", ports=port)["clusterIP"]
    with lab.pods["two"].socket(socket.SOCK_DGRAM) as client:
        client.connect((address, 54))
        for _ in range(3):
            with contextlib.suppress(ConnectionRefusedError):
                client.send(b"?")
            time.sleep(0.05)
        lab.api.endpoints("early", PODS["one"], ports=[{"name": "http", "port": 8080, "protocol": "UDP"}])

        def answered() -> bool:
            with contextlib.suppress(OSError):
                return ask_udp(lab.pods["two"], address, 54, client=client, timeout=0.3)[0] == "one"
            return False

        eventually(answered, "the same port reaches the endpoint")


def test_a_deleted_service_leaves_nothing_in_the_table(lab: Lab) -> None:
    spec = lab.api.service("fleeting", type="NodePort", sessionAffinity="ClientIP")
    address = spec["clusterIP"]
    lab.api.endpoints("fleeting", *PODS.values())
    eventually(served(lab.pods["one"], address, 80), "the Service answers")
    lab.api.call("DELETE", "/api/v1/namespaces/default/services/fleeting")
    eventually(lambda: address not in lab.table(), "the address is gone")
    lab.api.call("DELETE", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/fleeting-1")


def test_no_transaction_was_refused(lab: Lab) -> None:
    """After the tests above; a refused one is repaired by a full replacement, and so would go unnoticed."""
    assert "refused" not in "".join(path.read_text() for path in lab.directory.glob("*kube_proxy.log"))


def test_a_removed_table_comes_back_with_the_next_change(lab: Lab) -> None:
    address = lab.api.service("survivor")["clusterIP"]
    lab.api.endpoints("survivor", PODS["one"])
    eventually(served(lab.pods["two"], address, 80), "the Service answers")
    lab.node.run("nft", "flush", "ruleset")
    lab.api.endpoints("survivor", PODS["two"])
    eventually(served(lab.pods["one"], address, 80), "all rules are back")


def test_the_proxy_tells_its_health(lab: Lab) -> None:
    def get() -> bytes:
        with urllib.request.urlopen("http://127.0.0.1:10256/healthz", timeout=3) as answer:
            return bytes(answer.read())

    assert b'"nodeEligible":true' in lab.node.inside(get)


def test_rules_outlive_the_proxy_and_its_return_disturbs_nobody(lab: Lab) -> None:
    address = lab.api.service("lasting")["clusterIP"]
    lab.api.endpoints("lasting", PODS["one"])
    eventually(served(lab.pods["two"], address, 80), "the Service answers")
    lab.stop()
    assert ask_tcp(lab.pods["two"], address, 80)[0] == "one"
    outcomes: list[bool] = []
    ended = threading.Event()

    def knock() -> None:
        while not ended.wait(0.01):
            outcomes.append(served(lab.pods["two"], address, 80)())

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        lab.start()
    finally:
        ended.set()
        thread.join()
    assert len(outcomes) > 10
    assert all(outcomes)


def test_cleanup_takes_the_table_away(lab: Lab) -> None:
    lab.stop()
    assert "table ip hanse-proxy" in lab.table()
    lab.node.run(sys.executable, "-m", "cluster.kube_proxy", "--cleanup")
    assert lab.table() == ""
    lab.node.run(sys.executable, "-m", "cluster.kube_proxy", "--cleanup")
    lab.start()
    assert "table ip hanse-proxy" in lab.table()

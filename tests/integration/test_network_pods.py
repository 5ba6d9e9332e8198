"""
Two nodes with the pod network between them; pods are attached by the real CNI plugins with the configuration written.

    outside 192.0.2.9 ── switch ── n1 192.0.2.1 (pods of 10.244.1.0/24), n2 192.0.2.2 (pods of 10.244.2.0/24)
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster.kube_proxy.pod_network.cni_configuration import FILE_NAME
from tests.integration.network_api import ClusterApi, cluster_api
from tests.integration.network_namespaces import (
    Echo,
    Namespace,
    Relay,
    ask_tcp,
    ask_udp,
    attach,
    eventually,
    lacking,
    namespaces,
    service,
)

PLUGINS = next((p for p in (Path("/opt/hanse/current/cni/bin"), Path("/usr/lib/cni")) if (p / "ptp").exists()), None)
_REASON = lacking() or (
    "" if PLUGINS else "the CNI plugins are not installed, e.g. Debian's containernetworking-plugins"
)
pytestmark = [pytest.mark.needs_root, pytest.mark.skipif(bool(_REASON), reason=_REASON)]


@dataclass
class Node:
    where: Namespace
    api: ClusterApi
    directory: Path
    name: str
    address: str
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self, mode: str = "vxlan") -> None:
        self.running.enter_context(
            service(
                self.where, "cluster.kube_proxy", f"--kubeconfig={self.api.kubeconfig}",
                f"--hostname-override={self.name}", f"--node-ip={self.address}", f"--pod-network={mode}",
                f"--cni-conf-dir={self.directory}", f"--cni-bin-dir={PLUGINS}", directory=self.directory,
            )
        )  # fmt: skip

    def cni(self, command: str, pod: Namespace) -> Any:
        """Call the plugin as the container runtime does; addresses are noted in the test's own folder."""
        conf = json.loads((self.directory / FILE_NAME).read_text())
        (plugin,) = conf["plugins"]
        plugin["ipam"]["dataDir"] = str(self.directory / "addresses")
        text = json.dumps({"cniVersion": conf["cniVersion"], "name": conf["name"], **plugin})
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod.name,
            "CNI_NETNS": f"/run/netns/{pod.name}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(PLUGINS),
        }
        done = subprocess.run(
            ["ip", "netns", "exec", self.where.name, f"{PLUGINS}/{plugin['type']}"],
            input=text, capture_output=True, text=True, check=False, env={**os.environ, **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else None

    def routes(self) -> str:
        return self.where.ip("route show proto 142")

    def device(self) -> Any:
        found = json.loads(self.where.ip("-j -s link show"))
        return next((link for link in found if link["ifname"] == "hanse-vxlan"), None)


@dataclass
class Lab:
    api: ClusterApi
    nodes: list[Node]
    pods: list[Namespace]
    addresses: list[str]
    outside: Namespace


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(cluster_api(tmp_path_factory.mktemp("api")))
        switch, outside, *spaces = stack.enter_context(
            namespaces("switch", "outside", "n1", "n2", "pod1", "pod2")
        )  # fmt: skip
        attach(switch, "outside", outside, "192.0.2.9/24")
        hosts, pods = spaces[:2], spaces[2:]
        nodes = []
        for number, host in enumerate(hosts, 1):
            attach(switch, f"n{number}", host, f"192.0.2.{number}/24")
            host.ip("route add default via 192.0.2.9")
            stack.callback(Relay(host, ("127.0.0.1", 6443), ("127.0.0.1", api.port)).close)
            api.node(f"n{number}", f"192.0.2.{number}", f"10.244.{number}.0/24")
            node = Node(host, api, tmp_path_factory.mktemp(f"n{number}"), f"n{number}", f"192.0.2.{number}")
            stack.callback(node.running.close)
            node.start()
            nodes.append(node)
        addresses = []
        for node, pod in zip(nodes, pods, strict=True):
            eventually((node.directory / FILE_NAME).exists, "the CNI configuration is there")
            result = node.cni("ADD", pod)
            addresses.append(result["ips"][0]["address"].partition("/")[0])
            stack.callback(Echo(pod, 8080).close)
        stack.callback(Echo(outside, 8080).close)
        yield Lab(api, nodes, pods, addresses, outside)


def talks(where: Namespace, address: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(ask_tcp(where, address, 8080, timeout=0.5)[0])
    return False


def test_pods_of_two_nodes_talk_through_the_tunnel(lab: Lab) -> None:
    first, second = lab.addresses
    eventually(lambda: talks(lab.pods[0], second), "the pods reach each other")
    before = lab.nodes[0].device()["stats64"]["tx"]["packets"]
    assert ask_tcp(lab.pods[0], second, 8080) == ("pod2", first)
    assert ask_tcp(lab.pods[1], first, 8080) == ("pod1", second)
    assert ask_udp(lab.pods[0], second, 8080) == ("pod2", first)
    assert lab.nodes[0].device()["stats64"]["tx"]["packets"] > before


def test_full_packets_fit_through_the_tunnel(lab: Lab) -> None:
    assert "mtu 1450" in lab.pods[0].ip("link show eth0")
    with lab.pods[0].socket() as server, lab.pods[1].socket() as client:
        server.bind((lab.addresses[0], 9000))
        server.listen(1)
        client.settimeout(5)
        server.settimeout(5)
        client.connect((lab.addresses[0], 9000))
        connection, _ = server.accept()
        with connection:
            connection.settimeout(5)
            client.sendall(b"x" * 200_000)
            client.shutdown(socket.SHUT_WR)
            assert sum(len(part) for part in iter(lambda: connection.recv(65536), b"")) == 200_000


def test_pods_leave_the_cluster_with_their_nodes_address(lab: Lab) -> None:
    assert ask_tcp(lab.pods[0], "192.0.2.9", 8080) == ("outside", "192.0.2.1")
    assert ask_tcp(lab.pods[1], "192.0.2.9", 8080) == ("outside", "192.0.2.2")


def test_a_node_reaches_the_pods_of_the_other(lab: Lab) -> None:
    assert ask_tcp(lab.nodes[0].where, lab.addresses[1], 8080)[0] == "pod2"


def test_a_service_leads_to_a_pod_behind_the_tunnel(lab: Lab) -> None:
    address = lab.api.service("far")["clusterIP"]
    lab.api.endpoints("far", lab.addresses[1], node="n2")

    def answered() -> bool:
        with contextlib.suppress(OSError):
            return ask_tcp(lab.pods[0], address, 80, timeout=0.5) == ("pod2", lab.addresses[0])
        return False

    eventually(answered, "the Service answers")
    assert ask_tcp(lab.nodes[0].where, address, 80)[0] == "pod2"
    assert ask_tcp(lab.pods[1], address, 80)[0] == "pod2"


def test_a_removed_node_leaves_nothing_and_a_new_one_is_joined(lab: Lab) -> None:
    node = lab.nodes[0]
    assert "10.244.2.0/24" in node.routes()
    lab.api.call("DELETE", "/api/v1/nodes/n2")
    eventually(lambda: "10.244.2.0/24" not in node.routes(), "the route is gone")
    assert "192.0.2.2" not in node.where.run("bridge", "fdb", "show", "dev", "hanse-vxlan")
    assert node.where.ip("neighbour show dev hanse-vxlan nud permanent") == ""
    lab.api.node("n2", "192.0.2.2", "10.244.2.0/24")
    eventually(lambda: talks(lab.pods[0], lab.addresses[1]), "the pods reach each other again")


def test_a_restart_leaves_device_and_connections_alone(lab: Lab) -> None:
    node = lab.nodes[0]
    index = node.device()["ifindex"]
    node.running.close()
    assert talks(lab.pods[0], lab.addresses[1])
    node.start()
    assert talks(lab.pods[0], lab.addresses[1])
    assert node.device()["ifindex"] == index


def test_what_somebody_removed_is_put_back(lab: Lab) -> None:
    node = lab.nodes[0]
    node.where.ip("link del hanse-vxlan")
    lab.api.node("n3", "192.0.2.3", "10.244.3.0/24")  # any change of the nodes makes it look
    eventually(lambda: talks(lab.pods[0], lab.addresses[1]), "the device is back")
    lab.api.call("DELETE", "/api/v1/nodes/n3")
    eventually(lambda: "10.244.3.0/24" not in node.routes(), "the third node's route is gone")


def test_nodes_on_one_link_can_do_with_routes_only(lab: Lab) -> None:
    for node in lab.nodes:
        node.running.close()
        node.start("host-routes")
    for node in lab.nodes:
        eventually(lambda node=node: node.device() is None, "the device is gone")  # type: ignore[misc]
    eventually(lambda: "10.244.2.0/24 via 192.0.2.2" in lab.nodes[0].routes(), "the route is direct")
    eventually(lambda: talks(lab.pods[0], lab.addresses[1]), "the pods reach each other")
    assert ask_tcp(lab.pods[0], lab.addresses[1], 8080) == ("pod2", lab.addresses[0])
    for node in lab.nodes:
        node.running.close()
    lab.nodes[0].where.run(sys.executable, "-m", "cluster.kube_proxy", "--cleanup")
    assert lab.nodes[0].routes() == ""
    for node in lab.nodes:
        node.start()
    eventually(lambda: "dev hanse-vxlan" in lab.nodes[0].routes(), "the tunnel is back")
    eventually(lambda: talks(lab.pods[0], lab.addresses[1]), "the pods reach each other through it")


def test_cleanup_takes_device_and_table_away(lab: Lab) -> None:
    node = lab.nodes[1]
    node.running.close()
    node.where.run(sys.executable, "-m", "cluster.kube_proxy", "--cleanup")
    assert node.device() is None
    assert node.routes() == ""
    assert node.where.run("nft", "list", "ruleset") == ""
    node.start()
    eventually(lambda: talks(lab.pods[0], lab.addresses[1]), "all is back")


def test_a_pods_end_frees_its_address(lab: Lab) -> None:
    node, pod = lab.nodes[1], lab.pods[1]
    node.cni("DEL", pod)
    assert "eth0" not in pod.ip("-br link show")
    assert not (node.directory / "addresses" / "hanse" / lab.addresses[1]).exists()

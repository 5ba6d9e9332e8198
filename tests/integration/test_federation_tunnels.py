"""Members that the federation does not reach are seen and worked with there, over what their agents hold open."""

import contextlib
import dataclasses
import json
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.api import resources
from cluster.client.kubeconfig import ClientConfig, load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.client.tls import TlsFiles
from cluster.machinery.status_errors import ApiError
from cluster.single_process.identity import ensure_identity
from cluster.testing import ControlPlane, control_plane
from federation.agent.credentials import load
from federation.api.resources import DNS_RECORD_SETS
from federation.multicluster.kinds import EXPORTS
from tests.integration.federation_agents import Federation, agent, call, eventually, federation
from tests.integration.federation_processes import NEEDS_KUBECTL

pytestmark = NEEDS_KUBECTL

LINES = b"a line of the member\n" * 200_000
PROXY = "/apis/federation/v1beta1/clusters/edge/proxy"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "echo"}
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {"nodeName": "real", "containers": [{"name": "web", "image": "registry.test/web:1"}]},
}


class Kubelet(socketserver.StreamRequestHandler):
    """Has long logs, and gives back whatever is sent to a session."""

    def handle(self) -> None:
        path = self.rfile.readline().split()[1]
        head = []
        while (line := self.rfile.readline().strip()) != b"":
            head.append(line.lower())
        if path.startswith(b"/containerLogs"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(LINES) + LINES)
            self.rfile.read(1)  # until all of it has been taken
            return
        if b"upgrade: echo" not in head:
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        with contextlib.suppress(OSError):
            while data := self.request.recv(1 << 16):
                self.request.sendall(data)


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    identity = ensure_identity(
        tmp_path_factory.mktemp("kubelet"), addresses=("127.0.0.1",), service_address="10.96.0.1"
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with control_plane() as plane, socketserver.ThreadingTCPServer(("127.0.0.1", 0), Kubelet) as kubelet:
        kubelet.socket = context.wrap_socket(kubelet.socket, server_side=True)
        kubelet.daemon_threads = True
        serving = threading.Thread(target=kubelet.serve_forever)
        serving.start()
        login = load_kubeconfig(plane.kubeconfig)
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.server_address[1]}},
        }
        call(login, lambda it: it.create(resources.NODES, {"metadata": {"name": "real"}}))
        call(login, lambda it: it.patch(resources.NODES, "real", {"status": status}, subresource="status"))
        account = resources.SERVICE_ACCOUNTS
        eventually(lambda: call(login, lambda it: it.list(account, namespace="default"))["items"], "an account", 20)
        call(login, lambda it: it.create(resources.PODS, POD, namespace="default"))
        try:
            yield plane
        finally:
            kubelet.shutdown()
            serving.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with federation(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def edge(world: Federation, member: ControlPlane, tmp_path: Path) -> Iterator[Federation]:
    """The federation with the member in it, whose agent holds a tunnel."""
    invited = world.federate("join", "edge", "--pull")
    with agent(tmp_path / "agent.log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: world.cluster("edge").get("phase") == "Ready", "the member is ready", 20)
        eventually(lambda: "web" in kubectl(world, "get", "pods").stdout, "its Pods are seen", 20)
        yield world
    log = (tmp_path / "agent.log").read_text()
    assert "Traceback" not in log, log


def kubectl(world: Federation, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = ["kubectl", f"--kubeconfig={world.kubeconfig}", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def refused(login: ClientConfig, path: str, method: str = "GET", **headers: str) -> int:
    """The code of a refusal; 0 without one."""

    async def ask(client: ApiClient) -> int:
        try:
            await client.request(method, path, headers=headers or None)
        except ApiError as error:
            return error.http_code
        return 0

    return call(login, ask)


def test_pods_and_their_logs_are_seen_through_the_tunnel(edge: Federation) -> None:
    listed = kubectl(edge, "get", "pods")
    assert "edge" in listed.stdout
    assert "Warning" not in listed.stderr
    assert kubectl(edge, "get", "node", "real").returncode == 0
    got = kubectl(edge, "logs", "web")
    assert got.stdout.encode() == LINES, got.stderr


def test_a_session_carries_bytes_both_ways_while_lists_go_on(edge: Federation) -> None:
    sent = bytes(range(256)) * (48 << 12)
    with session(edge, "/api/v1/namespaces/default/pods/web/exec?command=cat&stdin=1") as (answer, way):
        assert answer.startswith(b"HTTP/1.1 101")
        writing = threading.Thread(target=way.sendall, args=(sent,))
        writing.start()
        writing.join(3)
        assert writing.is_alive(), "who does not read is not read from"
        assert "web" in kubectl(edge, "get", "pods").stdout  # a stream that stands still keeps no other waiting
        got = bytearray()
        while len(got) < len(sent):
            got += way.recv(1 << 16)
        writing.join()
        assert got == sent


@contextlib.contextmanager
def session(world: Federation, path: str) -> Iterator[tuple[bytes, ssl.SSLSocket]]:
    """An upgraded connection of the administrator; small buffers, so that nothing waits in them."""

    login = load_kubeconfig(world.kubeconfig)
    host, port = world.url.removeprefix("https://").split(":")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    plain.connect((host, int(port)))
    plain.settimeout(30)
    with TlsFiles(login).context().wrap_socket(plain, server_hostname=host) as way:
        headers = {**UPGRADE, **ApiClient(login).credentials()}
        head = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
        way.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += way.recv(1)
        yield answer, way


def test_the_whole_api_of_a_member_stands_behind_the_federations(edge: Federation, member: ControlPlane) -> None:
    server = f"--server={edge.url}{PROXY}"
    made = kubectl(edge, server, "create", "configmap", "by-proxy", "--from-literal=color=blue")
    assert made.returncode == 0, made.stderr
    got = call(
        load_kubeconfig(member.kubeconfig),
        lambda it: it.get(resources.CONFIG_MAPS, "by-proxy", namespace="default"),
    )
    assert got["data"] == {"color": "blue"}
    assert edge.federate("get", "configmaps")["items"]
    assert kubectl(edge, server, "delete", "configmap", "by-proxy").returncode == 0
    login = load_kubeconfig(edge.kubeconfig)
    assert refused(login, "/apis/federation/v1beta1/clusters/nobody/proxy/api") == 404


def test_who_may_only_read_through_the_proxy_runs_nothing_in_the_member(edge: Federation) -> None:
    rules = ["--verb=get", "--resource=clusters.federation/proxy"]
    assert kubectl(edge, "create", "clusterrole", "looks", *rules).returncode == 0
    assert kubectl(edge, "create", "clusterrolebinding", "looks", "--clusterrole=looks", "--user=eve").returncode == 0
    login, eve = load_kubeconfig(edge.kubeconfig), {"Impersonate-User": "eve"}
    assert refused(login, f"{PROXY}/api/v1/pods", **eve) == 0
    assert refused(login, f"{PROXY}/api/v1/namespaces/default/pods", "POST", **eve) == 403
    assert refused(login, f"{PROXY}/api/v1/namespaces/default/pods/web/exec", **eve, **UPGRADE) == 403


def test_a_tunnel_is_its_agents_alone_and_agents_go_through_none(edge: Federation, member: ControlPlane) -> None:
    tunnel = "/apis/federation/v1beta1/clusters/{}/tunnel"
    administrator = load_kubeconfig(edge.kubeconfig)
    held = call(load_kubeconfig(member.kubeconfig), lambda it: load(it, "edge"))
    assert held is not None
    own = held.config(edge.url)
    edge.federate("join", "other", "--pull")
    websocket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert refused(administrator, tunnel.format("edge"), **websocket) == 403
    assert refused(own, tunnel.format("other"), **websocket) == 403
    assert refused(own, tunnel.format("edge")) == 400
    assert refused(own, f"{PROXY}/version") == 403
    edge.federate("leave", "other", "--force")


def test_without_its_tunnel_a_member_is_left_out_with_a_warning_and_comes_back(
    world: Federation, member: ControlPlane, tmp_path: Path
) -> None:
    invited = world.federate("join", "edge", "--pull")
    with agent(tmp_path / "first.log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: "web" in kubectl(world, "get", "pods").stdout, "its Pods are seen", 20)
    left = kubectl(world, "get", "pods")
    assert "web" not in left.stdout
    assert "cluster edge is left out" in left.stderr
    assert refused(load_kubeconfig(world.kubeconfig), f"{PROXY}/version") == 503
    with agent(tmp_path / "second.log", member.kubeconfig, invited["arguments"]):
        eventually(lambda: "web" in kubectl(world, "get", "pods").stdout, "they are seen again", 20)
        assert json.loads(kubectl(world, "get", "--raw", f"{PROXY}/version").stdout)["major"] == "1"
        world.federate("leave", "edge")
    assert refused(load_kubeconfig(world.kubeconfig), f"{PROXY}/version") == 404


def test_tokens_are_shown_with_their_use_and_let_nobody_in_once_revoked(edge: Federation) -> None:
    def tokens() -> list[dict[str, str]]:
        return [one for one in edge.federate("token", "list")["tokens"] if one["cluster"] == "edge"]

    before = tokens()
    assert {one["state"] for one in before} == {"valid"}
    made = edge.federate("token", "create", "edge", "--hours", "2")
    text = Path(made["tokenFile"]).read_text().strip()
    [new] = [one for one in tokens() if one not in before]
    assert (new["used"], text.startswith(new["id"])) == ("", True)
    assert text.partition(".")[2] not in json.dumps([made, new])
    visitor = dataclasses.replace(load_kubeconfig(edge.kubeconfig), token=text, cert_data=b"", key_data=b"")
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert refused(visitor, review, "POST") != 401
    assert edge.federate("token", "revoke", new["id"])["revoked"] == [new["id"]]
    eventually(lambda: refused(visitor, review, "POST") == 401, "the token is worth nothing", 20)
    assert new not in tokens()
    edge.federate("token", "revoke", "nobody", code=2)
    edge.federate("token", "create", "nobody", code=2)


def test_names_and_imports_follow_a_member_in_pull_mode(edge: Federation, member: ControlPlane) -> None:
    """Both ways: its endpoints make the federation's names, and what it exports others import."""
    port = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}
    service = {"metadata": {"name": "shop"}, "spec": {"type": "LoadBalancer", "selector": {"a": "b"}, "ports": [port]}}
    labels = {"kubernetes.io/service-name": "shop", "federation.hanse.io/managed": "true"}
    slices: dict[str, Any] = {
        "metadata": {"name": "shop-1", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": ["10.9.8.7"], "conditions": {"ready": True}}],
    }
    local = load_kubeconfig(member.kubeconfig)
    edge.call(lambda it: it.create(resources.NAMESPACES, {"metadata": {"name": "mall"}}))
    edge.call(lambda it: it.create(resources.SERVICES, service, namespace="mall"))
    eventually(
        lambda: [one for one in call(local, lambda it: it.list(resources.SERVICES, namespace="mall"))["items"]
                 if one["metadata"]["name"] == "shop"], "it is placed", 20,
    )  # fmt: skip
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.77"}]}}}
    call(local, lambda it: it.patch(resources.SERVICES, "shop", status, namespace="mall", subresource="status"))
    call(local, lambda it: it.create(resources.ENDPOINT_SLICES, slices, namespace="mall"))
    eventually(lambda: "192.0.2.77" in json.dumps(edge.call(lambda it: it.list(DNS_RECORD_SETS))), "it is named", 20)
    with control_plane() as other:
        edge.federate("join", "hub", f"--kubeconfig={other.kubeconfig}")
        hub = load_kubeconfig(other.kubeconfig)
        eventually(lambda: edge.cluster("hub").get("phase") == "Ready", "the other member is ready", 20)
        made = {"metadata": {"name": "shop"}, "apiVersion": EXPORTS.api_version, "kind": EXPORTS.kind}
        call(local, lambda it: it.create(EXPORTS, made, namespace="mall"))

        def imported() -> str:
            with contextlib.suppress(ApiError):
                return json.dumps(call(hub, lambda it: it.list(resources.ENDPOINT_SLICES, namespace="mall")))
            return ""

        eventually(lambda: "192.0.2.77" in imported(), "what leads into it is imported", 20)
        edge.federate("leave", "hub")

"""Pods, Nodes and Events of two real members at the federation's API, also when a third does not answer."""

import base64
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.single_process.identity import ensure_identity
from cluster.testing import ControlPlane, control_plane
from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint, federation_apiserver

pytestmark = NEEDS_KUBECTL

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "main", "image": "nginx"}]},
}
LABEL = "federation.hanse.io/cluster"


@dataclass(frozen=True, slots=True)
class Federated:
    api: Endpoint
    members: dict[str, Endpoint]

    def join(self, name: str, plane: ControlPlane | str) -> None:
        """A Cluster and its Secret; of a member that is only an address, one that leads there."""
        if isinstance(plane, str):
            described = {
                "current-context": "m",
                "contexts": [{"name": "m", "context": {"cluster": "m", "user": "m"}}],
                "clusters": [{"name": "m", "cluster": {"server": plane, "insecure-skip-tls-verify": True}}],
                "users": [{"name": "m", "user": {"token": "x"}}],
            }
            url, text = plane, json.dumps(described).encode()
        else:
            url, text = plane.url, plane.kubeconfig.read_bytes()
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "federation-system"},
            "data": {"kubeconfig": base64.b64encode(text).decode()},
        }
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": url}
        cluster = {
            "apiVersion": "federation/v1beta1",
            "kind": "Cluster",
            "metadata": {"name": name},
            "spec": {"serverAddressByClientCIDRs": [address], "secretRef": {"name": name}},
        }
        for obj in (secret, cluster):
            self.api.did("apply", "-f", "-", stdin=json.dumps(obj))


@pytest.fixture(scope="module")
def federated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federated]:
    home = tmp_path_factory.mktemp("views")
    with (
        control_plane(hollow_nodes=1) as east,
        control_plane(hollow_nodes=1) as west,
        federation_apiserver(home / "federation") as api,
    ):
        planes = {"east": east, "west": west}
        members = {name: Endpoint(home, plane.url, plane.kubeconfig) for name, plane in planes.items()}
        found = Federated(api, members)
        for name, plane in planes.items():
            found.join(name, plane)
        for name, member in members.items():
            for pod in ("same", f"only-{name}"):
                wait_for_account(member)
                member.did("create", "-f", "-", stdin=json.dumps({**POD, "metadata": {**POD["metadata"], "name": pod}}))
        for member in members.values():
            member.did("wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s")
        yield found


def wait_for_account(member: Endpoint) -> None:
    deadline = time.monotonic() + 20
    while member.kubectl("get", "serviceaccount", "default").returncode and time.monotonic() < deadline:
        time.sleep(0.2)


@pytest.fixture
def black_hole(federated: Federated) -> Iterator[str]:
    """A member that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        federated.join("hole", f"https://127.0.0.1:{listener.getsockname()[1]}")
        try:
            yield "hole"
        finally:
            federated.api.did("delete", "cluster", "hole")
            listener.shutdown(socket.SHUT_RDWR)
            for one in held:
                one.close()
            thread.join(5)


@pytest.fixture
def kubelet(federated: Federated, tmp_path: Path) -> Iterator[list[tuple[str, str]]]:
    """A node of east whose kubelet knows logs and nothing else; what it is asked: (path, Authorization)."""
    asked: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class calls it so
            asked.append((self.path, self.headers.get("Authorization", "")))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"line of east\n")

        def log_message(self, *_: Any) -> None:
            pass

    identity = ensure_identity(tmp_path, addresses=("127.0.0.1",), service_address="10.96.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    east = federated.members["east"]
    east.did("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "real"}}))
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": server.server_port}},
    }
    east.did("patch", "node", "real", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    spec = {**POD["spec"], "nodeName": "real"}
    for member in federated.members.values():
        metadata = {"name": "logged", "labels": {"app": "logged"}}
        member.did("create", "-f", "-", stdin=json.dumps({**POD, "metadata": metadata, "spec": spec}))
    try:
        yield asked
    finally:
        for member in federated.members.values():
            member.did("delete", "pod", "logged", "--force", "--grace-period=0")
        east.did("delete", "node", "real")
        server.shutdown()
        thread.join()
        server.server_close()


def items(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["items"]
    return found


def places(text: str) -> list[tuple[str, str]]:
    return sorted((one["metadata"]["labels"][LABEL], one["metadata"]["name"]) for one in items(text))


ALL = [("east", "only-east"), ("east", "same"), ("west", "only-west"), ("west", "same")]


def test_pods_of_all_members_are_one_list_with_a_column_for_the_cluster(federated: Federated) -> None:
    rows = [row.split() for row in federated.api.did("get", "pods").splitlines()]
    assert rows[0][:4] == ["NAME", "CLUSTER", "READY", "STATUS"]
    assert sorted((row[1], row[0]) for row in rows[1:]) == ALL
    assert places(federated.api.did("get", "pods", "-o", "json")) == ALL
    assert "east-" not in federated.api.did("get", "nodes", "-o", "name")
    assert len(federated.api.did("get", "nodes", "-L", LABEL).splitlines()) == 3


def test_a_label_or_a_parameter_chooses_the_member(federated: Federated) -> None:
    east = federated.api.did("get", "pods", "-l", f"{LABEL}=east,app=web", "-o", "json")
    assert places(east) == ALL[:2]
    assert places(federated.api.did("get", "pods", "-l", f"{LABEL}!=east", "-o", "json")) == ALL[2:]
    raw = "/api/v1/namespaces/default/pods?cluster=west"
    assert places(federated.api.did("get", "--raw", raw)) == ALL[2:]
    assert "No resources" in federated.api.kubectl("get", "pods", "-l", f"{LABEL}=north").stderr
    unknown = federated.api.kubectl("get", "--raw", raw.replace("west", "north"))
    assert 'clusters.federation "north" not found' in unknown.stderr


def test_a_name_that_is_unique_is_enough_and_another_takes_its_cluster_in_front(federated: Federated) -> None:
    assert federated.api.did("get", "pod", "only-west").splitlines()[1].split()[:2] == ["only-west", "west"]
    refused = federated.api.kubectl("get", "pod", "same")
    assert "is in several clusters: east, west; say which, as in east:same" in refused.stderr
    assert "several clusters" in federated.api.kubectl("logs", "same").stderr
    found = json.loads(federated.api.did("get", "pod", "west:same", "-o", "json"))
    assert found["metadata"]["labels"][LABEL] == "west"
    assert found["metadata"]["name"] == "west:same"
    theirs = json.loads(federated.members["west"].did("get", "pod", "same", "-o", "json"))
    assert found["metadata"]["uid"] == theirs["metadata"]["uid"]
    missing = federated.api.kubectl("get", "pod", "nowhere")
    assert 'pods "nowhere" not found' in missing.stderr


def test_streams_go_to_the_member_and_say_what_it_says(federated: Federated) -> None:
    # Hollow nodes have no kubelet: the member's own refusal is what has to come back.
    theirs = federated.members["east"].kubectl("logs", "only-east")
    ours = federated.api.kubectl("logs", "only-east")
    assert (ours.returncode, ours.stderr.split(":")[0]) == (theirs.returncode, theirs.stderr.split(":")[0])
    session = federated.api.kubectl("exec", "east:same", "--", "true")
    assert session.returncode != 0
    assert "several" not in session.stderr


def test_logs_come_from_the_node_of_the_member_that_is_named(
    federated: Federated, kubelet: list[tuple[str, str]]
) -> None:
    assert federated.api.did("logs", "east:logged", "--tail=5") == "line of east\n"
    [(path, authorization)] = kubelet
    assert path.startswith("/containerLogs/default/logged/main?")
    assert "tailLines=5" in path
    assert authorization == ""  # nobody's token went on
    refused = federated.api.kubectl("logs", "west:logged")
    assert 'nodes "real" not found' in refused.stderr


def test_pages_take_from_every_member_and_end(federated: Federated) -> None:
    path = "/api/v1/pods?limit=2"
    first = json.loads(federated.api.did("get", "--raw", path))
    assert [one["metadata"]["labels"][LABEL] for one in first["items"]] == ["east", "west"]
    second = json.loads(federated.api.did("get", "--raw", f"{path}&continue={first['metadata']['continue']}"))
    assert len(second["items"]) == 2
    assert "continue" not in second["metadata"]
    one = json.loads(federated.api.did("get", "--raw", "/api/v1/pods?limit=1"))
    assert len(one["items"]) == 1
    assert len(federated.api.did("get", "pods", "--chunk-size=1", "-o", "name").split()) == 4
    assert "invalid continue token" in federated.api.kubectl("get", "--raw", f"{path}&continue=nonsense").stderr


def test_nothing_is_written_through_a_view(federated: Federated) -> None:
    for arguments in (("delete", "pod", "only-east"), ("label", "pod", "only-east", "a=b"), ("run", "x", "--image=y")):
        refused = federated.api.kubectl(*arguments)
        assert "a view of its member clusters" in refused.stderr, arguments
    verbs = federated.api.did("api-resources", "-o", "wide")
    line = next(line for line in verbs.splitlines() if line.startswith("pods "))
    assert "get,list,watch" in line
    assert "delete" not in line


def test_a_member_that_does_not_answer_leaves_a_part_and_a_warning(federated: Federated, black_hole: str) -> None:
    answer = federated.api.kubectl("get", "pods", "-o", "json")
    assert places(answer.stdout) == ALL
    assert f"cluster {black_hole} is left out: it does not answer in time" in answer.stderr
    found = federated.api.kubectl("get", "pod", "only-east")
    assert found.returncode == 0
    assert "hole is left out" in found.stderr
    unsure = federated.api.kubectl("get", "pod", "nowhere")
    assert "is in no cluster that answers" in unsure.stderr


def test_a_member_without_credentials_or_with_files_in_them_is_told(federated: Federated) -> None:
    federated.join("bare", "https://127.0.0.1:1")
    text = json.dumps(
        {
            "current-context": "m",
            "contexts": [{"name": "m", "context": {"cluster": "m", "user": "m"}}],
            "clusters": [{"name": "m", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "m", "user": {"tokenFile": "/etc/hostname"}}],
        }
    )
    for data, said in (
        ({"kubeconfig": base64.b64encode(text.encode()).decode()}, "names files, which are not read"),
        ({"other": ""}, "has neither `kubeconfig` nor `token`"),
    ):
        federated.api.did(
            "patch", "secret", "bare", "-n", "federation-system", "--type=json", "-p",
            json.dumps([{"op": "replace", "path": "/data", "value": data}]),
        )  # fmt: skip
        answer = federated.api.kubectl("get", "pods", "-o", "json")
        assert said in answer.stderr
        assert places(answer.stdout) == ALL
    federated.api.did("delete", "cluster", "bare")


def test_a_watch_merges_what_happens_in_all_members(federated: Federated) -> None:
    listed = json.loads(federated.api.did("get", "--raw", "/api/v1/namespaces/default/configmaps?limit=1"))
    assert listed["kind"] == "ConfigMapList"  # a template: not asked of members
    pods = json.loads(federated.api.did("get", "--raw", "/api/v1/namespaces/default/pods"))
    version = pods["metadata"]["resourceVersion"]
    for name, member in federated.members.items():
        member.did("label", "pod", f"only-{name}", "seen=yes", "--overwrite")
    path = f"/api/v1/namespaces/default/pods?watch=1&resourceVersion={version}&timeoutSeconds=2"
    events = [json.loads(line) for line in federated.api.did("get", "--raw", path).splitlines()]
    seen = {(e["type"], e["object"]["metadata"]["labels"][LABEL], e["object"]["metadata"]["name"]) for e in events}
    assert seen == {("MODIFIED", "east", "only-east"), ("MODIFIED", "west", "only-west")}
    # From the last event nothing is left to tell.
    last = events[-1]["object"]["metadata"]["resourceVersion"]
    again = f"/api/v1/namespaces/default/pods?watch=1&resourceVersion={last}&timeoutSeconds=1"
    assert federated.api.did("get", "--raw", again) == ""


def test_a_watch_from_nothing_begins_with_all_there_is_and_says_when(federated: Federated) -> None:
    path = (
        "/api/v1/namespaces/default/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        "&allowWatchBookmarks=true&timeoutSeconds=1"
    )
    events = [json.loads(line) for line in federated.api.did("get", "--raw", path).splitlines()]
    assert [event["type"] for event in events[:5]] == ["ADDED"] * 4 + ["BOOKMARK"]
    assert events[4]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    federated.api.did("wait", "--for=condition=Ready", "pod/only-east", "--timeout=10s")


def test_a_watch_with_a_version_of_nobody_or_of_changed_members_begins_anew(federated: Federated) -> None:
    path = "/api/v1/pods?watch=1&timeoutSeconds=20&resourceVersion="
    event = json.loads(federated.api.did("get", "--raw", path + "7"))
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    version = json.loads(federated.api.did("get", "--raw", "/api/v1/pods"))["metadata"]["resourceVersion"]
    said: list[str] = []
    watching = threading.Thread(target=lambda: said.append(federated.api.did("get", "--raw", path + version)))
    watching.start()
    time.sleep(0.5)
    federated.join("late", "https://127.0.0.1:1")
    watching.join(20)
    federated.api.did("delete", "cluster", "late")
    assert json.loads(said[0])["object"]["reason"] == "Expired"


def test_a_watch_ends_with_410_when_a_member_breaks_off_and_goes_on_without_it(federated: Federated) -> None:
    path = "/api/v1/pods?watch=1&timeoutSeconds=30&resourceVersion="
    said: list[str] = []
    with control_plane() as north:
        federated.join("north", north)
        version = json.loads(federated.api.did("get", "--raw", "/api/v1/pods"))["metadata"]["resourceVersion"]
        watching = threading.Thread(target=lambda: said.append(federated.api.did("get", "--raw", path + version)))
        watching.start()
        time.sleep(1)
    watching.join(30)
    last = json.loads(said[0].splitlines()[-1])
    assert (last["type"], last["object"]["code"]) == ("ERROR", 410)
    assert "cluster north broke" in last["object"]["message"]
    # Listing again shows who is left, and a watch from there is quiet about who is gone.
    answer = federated.api.kubectl("get", "--raw", "/api/v1/pods")
    assert "cluster north is left out" in answer.stderr
    version = json.loads(answer.stdout)["metadata"]["resourceVersion"]
    quiet = federated.api.did("get", "--raw", f"/api/v1/pods?watch=1&timeoutSeconds=1&resourceVersion={version}")
    assert "ERROR" not in quiet
    federated.api.did("delete", "cluster", "north")

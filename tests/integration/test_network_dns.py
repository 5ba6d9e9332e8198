"""
cluster-dns in a namespace, asked by dnspython from a pod, from the host and from a stranger, over UDP and TCP.

    stranger 192.0.2.9 ── host 192.0.2.1 (10.96.0.10, upstream resolver on 127.0.0.53) ── pod 10.244.0.11
"""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import yaml

from tests.integration.network_api import ClusterApi, cluster_api
from tests.integration.network_namespaces import (
    Namespace,
    Relay,
    Threaded,
    add_pod,
    connect,
    eventually,
    lacking,
    namespaces,
    service,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.skipif(bool(lacking()), reason=lacking())]

DNS = "10.96.0.10"
POD = "10.244.0.11"


class Upstream(Threaded):
    """The resolver of the world outside: knows example.test, counts questions, truncates what is long."""

    def __init__(self, where: Namespace, address: str = "127.0.0.53") -> None:
        self.questions: list[str] = []
        udp, tcp = where.socket(socket.SOCK_DGRAM), where.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (udp, tcp):
            each.bind((address, 53))
        tcp.listen(8)
        super().__init__(udp, tcp)

    def readable(self, which: socket.socket) -> None:
        if which.type == socket.SOCK_DGRAM:
            data, client = which.recvfrom(4096)
            which.sendto(self.answer(data, datagram=True), client)
            return
        connection, _ = which.accept()
        with connection:
            connection.settimeout(1)
            size = int.from_bytes(connection.recv(2), "big")
            message = self.answer(connection.recv(size), datagram=False)
            connection.sendall(len(message).to_bytes(2, "big") + message)

    def answer(self, data: bytes, *, datagram: bool) -> bytes:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text()
        self.questions.append(name)
        reply = dns.message.make_response(query, recursion_available=True)
        if name == "www.example.test.":
            reply.answer.append(dns.rrset.from_text(name, 20, "IN", "CNAME", "real.example.test."))
            reply.answer.append(dns.rrset.from_text("real.example.test.", 20, "IN", "A", "203.0.113.7"))
        elif name == "long.example.test.":
            if datagram:
                reply.flags |= dns.flags.TC
            else:
                texts = [f'"{number:03} {"x" * 90}"' for number in range(40)]
                reply.answer.append(dns.rrset.from_text_list(name, 20, "IN", "TXT", texts))
        elif name == "web.default.fed.svc.z1.r1.fed.test.":
            reply.answer.append(dns.rrset.from_text(name, 5, "IN", "A", "198.51.100.7"))
        elif name == "broken.example.test.":
            reply.set_rcode(dns.rcode.SERVFAIL)
        else:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            soa = "ns.example.test. root.example.test. 1 2 3 4 20"
            reply.authority.append(dns.rrset.from_text("example.test.", 20, "IN", "SOA", soa))
        return reply.to_wire(max_size=65_535)


@dataclass
class Lab:
    api: ClusterApi
    host: Namespace
    pod: Namespace
    stranger: Namespace
    upstream: Upstream

    def ask(
        self, name: str, kind: str = "A", *, where: Namespace | None = None, tcp: bool = False, payload: int = 0
    ) -> dns.message.Message:
        query = dns.message.make_query(name, kind, use_edns=0 if payload else False, payload=payload or 1232)
        return self.exchange(query, where or self.pod, tcp=tcp)

    def exchange(self, query: dns.message.Message, where: Namespace, *, tcp: bool = False) -> dns.message.Message:
        with where.socket(socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as client:
            if tcp:
                client.settimeout(5)
                client.connect((DNS, 53))
                client.setblocking(False)
                return dns.query.tcp(query, DNS, timeout=5, sock=client)
            client.setblocking(False)
            return dns.query.udp(query, DNS, timeout=5, sock=client)

    def texts(self, name: str, kind: str = "A", *, tcp: bool = False) -> list[str]:
        """Every rdata of the answer section, sorted."""
        answer = self.ask(name, kind, tcp=tcp)
        return sorted(each.to_text() for rrset in answer.answer for each in rrset)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory: Path = tmp_path_factory.mktemp("dns")
    (directory / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(cluster_api(directory))
        host, pod, stranger = stack.enter_context(namespaces("host", "pod", "stranger"))
        add_pod(host, pod, POD, "10.244.0.1")
        connect(host, "eth0", stranger, "eth0")
        host.ip("address add 192.0.2.1/24 dev eth0")
        stranger.ip("address add 192.0.2.9/24 dev eth0")
        stranger.ip("route add default via 192.0.2.1")
        upstream = Upstream(host)
        stack.callback(upstream.close)
        stack.callback(Relay(host, ("127.0.0.1", 6443), ("127.0.0.1", api.port)).close)
        _objects(api)
        stack.enter_context(
            service(
                host, "cluster.dns", f"--kubeconfig={api.kubeconfig}", f"--forward={directory / 'resolv.conf'}",
                directory=directory,
            )
        )  # fmt: skip
        yield Lab(api, host, pod, stranger, upstream)


def _objects(api: ClusterApi) -> None:
    api.service("web", clusterIP="10.96.7.7")
    api.service("db", clusterIP="None")
    port = [{"name": "pg", "port": 5432, "protocol": "TCP"}]
    named = {"addresses": ["10.244.3.3"], "hostname": "db-0", "conditions": {"ready": True}}
    api.endpoints("db", named, "10.244.3.4", {"addresses": ["10.244.3.5"], "conditions": {"ready": False}}, ports=port)
    api.service("outer", type="ExternalName", externalName="www.example.test", ports=[])
    api.service("inner", type="ExternalName", externalName="web.default.svc.cluster.local", ports=[])
    api.service("crowd", clusterIP="None")
    api.endpoints("crowd", *(f"10.244.9.{number}" for number in range(1, 91)))


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "kind", "texts"),
    [
        ("web.default.svc.cluster.local.", "A", ["10.96.7.7"]),
        ("WEB.Default.svc.CLUSTER.local.", "A", ["10.96.7.7"]),
        ("db.default.svc.cluster.local.", "A", ["10.244.3.3", "10.244.3.4"]),
        ("db-0.db.default.svc.cluster.local.", "A", ["10.244.3.3"]),
        ("10-244-3-4.db.default.svc.cluster.local.", "A", ["10.244.3.4"]),
        ("_http._tcp.web.default.svc.cluster.local.", "SRV", ["0 100 80 web.default.svc.cluster.local."]),
        (
            "_pg._tcp.db.default.svc.cluster.local.", "SRV",
            ["0 100 5432 10-244-3-4.db.default.svc.cluster.local.", "0 100 5432 db-0.db.default.svc.cluster.local."],
        ),
        ("7.7.96.10.in-addr.arpa.", "PTR", ["web.default.svc.cluster.local."]),
        ("3.3.244.10.in-addr.arpa.", "PTR", ["db-0.db.default.svc.cluster.local."]),
        ("10-244-1-9.default.pod.cluster.local.", "A", ["10.244.1.9"]),
        ("outer.default.svc.cluster.local.", "CNAME", ["www.example.test."]),
        ("outer.default.svc.cluster.local.", "A", ["203.0.113.7", "real.example.test.", "www.example.test."]),
        ("inner.default.svc.cluster.local.", "A", ["10.96.7.7", "web.default.svc.cluster.local."]),
        ("dns-version.cluster.local.", "TXT", ['"1.1.0"']),
    ],
)  # fmt: skip
def test_names_of_the_cluster_are_answered(lab: Lab, name: str, kind: str, texts: list[str], tcp: bool) -> None:
    for _ in range(2):  # the second answer is spliced from the first
        assert lab.texts(name, kind, tcp=tcp) == texts


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("nobody.default.svc.cluster.local.", "A", dns.rcode.NXDOMAIN),
        ("x.web.default.svc.cluster.local.", "A", dns.rcode.NXDOMAIN),
        ("300-1-1-1.default.pod.cluster.local.", "A", dns.rcode.NXDOMAIN),
        ("9.9.96.10.in-addr.arpa.", "PTR", dns.rcode.NXDOMAIN),
        ("web.default.svc.cluster.local.", "AAAA", dns.rcode.NOERROR),
        ("default.svc.cluster.local.", "A", dns.rcode.NOERROR),
        ("_tcp.db.default.svc.cluster.local.", "SRV", dns.rcode.NOERROR),
    ],
)
def test_a_denial_carries_the_soa(lab: Lab, name: str, kind: str, rcode: dns.rcode.Rcode) -> None:
    for _ in range(2):
        answer = lab.ask(name, kind)
        assert (answer.rcode(), answer.answer) == (rcode, [])
        assert answer.flags & dns.flags.AA
        assert [rrset.rdtype for rrset in answer.authority] == [dns.rdatatype.SOA]


def test_changes_are_answered_at_once(lab: Lab) -> None:
    name = "later.default.svc.cluster.local."
    assert lab.ask(name).rcode() == dns.rcode.NXDOMAIN
    lab.api.service("later", clusterIP="10.96.8.8")
    eventually(lambda: lab.texts(name) == ["10.96.8.8"], "the new Service has its name", 3)
    lab.api.call("DELETE", "/api/v1/namespaces/default/services/later")
    eventually(lambda: lab.ask(name).rcode() == dns.rcode.NXDOMAIN, "the name is gone", 3)


def test_a_long_answer_is_cut_for_datagrams_and_whole_over_tcp(lab: Lab) -> None:
    name = "crowd.default.svc.cluster.local."
    for payload, fewest, most in [(0, 20, 30), (512, 20, 30), (1232, 60, 75), (4096, 60, 75)]:
        answer = lab.ask(name, payload=payload)
        assert answer.flags & dns.flags.TC
        assert fewest <= sum(len(rrset) for rrset in answer.answer) <= most, payload
        assert len(answer.to_wire()) <= max(512, min(payload, 1232))
    assert len(lab.texts(name, tcp=True)) == 90


def test_edns_is_answered_with_edns_and_plain_with_plain(lab: Lab) -> None:
    assert lab.ask("web.default.svc.cluster.local.", payload=4096).edns == 0
    assert lab.ask("web.default.svc.cluster.local.").edns == -1
    query = dns.message.make_query("web.default.svc.cluster.local.", "A", use_edns=1, payload=1232)
    assert lab.exchange(query, lab.pod).rcode() == dns.rcode.BADVERS


def test_zone_transfers_and_other_classes_are_refused(lab: Lab) -> None:
    query = dns.message.make_query("web.default.svc.cluster.local.", "A", "CH")
    assert lab.exchange(query, lab.pod).rcode() == dns.rcode.REFUSED
    query = dns.message.make_query("cluster.local.", "AXFR")
    assert lab.exchange(query, lab.pod, tcp=True).rcode() == dns.rcode.REFUSED


def test_other_names_are_forwarded_and_kept(lab: Lab) -> None:
    asked = lab.upstream.questions
    first = lab.ask("www.example.test.")
    assert [rrset.rdtype for rrset in first.answer] == [dns.rdatatype.CNAME, dns.rdatatype.A]
    assert not first.flags & dns.flags.AA
    before = len(asked)
    for where in (lab.pod, lab.host):
        assert len(lab.ask("www.example.test.", where=where).answer) == 2
    assert lab.ask("no.example.test.").rcode() == dns.rcode.NXDOMAIN
    denied = lab.ask("no.example.test.")
    assert (denied.rcode(), denied.authority[0].rdtype) == (dns.rcode.NXDOMAIN, dns.rdatatype.SOA)
    assert asked[before:] == ["no.example.test."]
    assert lab.ask("broken.example.test.").rcode() == dns.rcode.SERVFAIL


def test_a_forwarded_ttl_grows_less_while_it_is_kept(lab: Lab) -> None:
    assert lab.ask("www.example.test.").answer[0].ttl <= 20
    eventually(lambda: lab.ask("www.example.test.").answer[0].ttl < 20, "a second has passed", 3)


def test_a_truncated_reply_is_fetched_over_tcp(lab: Lab) -> None:
    short = lab.ask("long.example.test.", "TXT", payload=1232)
    assert short.flags & dns.flags.TC
    assert len(lab.texts("long.example.test.", "TXT", tcp=True)) == 40


def test_strangers_get_the_clusters_names_only(lab: Lab) -> None:
    for tcp in (False, True):
        own = lab.ask("web.default.svc.cluster.local.", where=lab.stranger, tcp=tcp)
        assert own.answer[0][0].to_text() == "10.96.7.7"
        before = len(lab.upstream.questions)
        # "www" is in the cache by now: that must not help either.
        for name in ("www.example.test.", "secret.example.test."):
            refused = lab.ask(name, where=lab.stranger, tcp=tcp)
            assert (refused.rcode(), refused.answer) == (dns.rcode.REFUSED, [])
        assert len(lab.upstream.questions) == before
    alias = lab.ask("outer.default.svc.cluster.local.", where=lab.stranger)
    assert [rrset.rdtype for rrset in alias.answer] == [dns.rdatatype.CNAME]


def test_names_of_a_federation_are_answered_here_or_there_as_the_config_map_says(lab: Lab) -> None:
    name, there = "web.default.fed.svc.cluster.local.", "web.default.fed.svc.z1.r1.fed.test."
    path = "/api/v1/namespaces/kube-system/configmaps"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-dns"}}
    labels = {"topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1"}
    lab.api.call(
        "POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels}}
    )
    assert lab.ask(name).rcode() == dns.rcode.NXDOMAIN
    server = Upstream(lab.host, "127.0.0.54")
    try:
        data = {"federations": "fed=fed.test", "stubDomains": '{"fed.test": ["127.0.0.55", "127.0.0.54"]}'}
        lab.api.call("POST", path, {**body, "data": data})
        elsewhere = ["198.51.100.7", there]
        eventually(lambda: lab.texts(name) == elsewhere, "it is looked for elsewhere", 5)
        assert lab.texts(name, tcp=True) == elsewhere
        lab.api.endpoints("web", "10.244.3.9")
        here = ["10.96.7.7", "web.default.svc.cluster.local."]
        eventually(lambda: lab.texts(name) == here, "it is answered from here", 5)
        lab.api.endpoints("web", {"addresses": ["10.244.3.9"], "conditions": {"ready": False}})
        eventually(lambda: lab.texts(name) == elsewhere, "nothing is ready here", 5)
        assert lab.ask("gone.fed.test.").rcode() == dns.rcode.NXDOMAIN
        before = len(server.questions)
        assert lab.ask("gone.fed.test.").rcode() == dns.rcode.NXDOMAIN
        assert len(server.questions) == before
        lab.api.call("PUT", f"{path}/kube-dns", {**body, "data": {"federations": "what?"}})
        lab.api.call("PUT", f"{path}/kube-dns", {**body, "data": {**data, "federations": "fed=fed.test,other=x.test"}})
        lab.api.call("DELETE", f"{path}/kube-dns")
        eventually(lambda: lab.ask(name).rcode() == dns.rcode.NXDOMAIN, "the federation is forgotten", 5)
    finally:
        server.close()


def test_imported_services_are_answered_while_the_cluster_knows_the_kind(lab: Lab) -> None:
    name = "shared.default.svc.clusterset.local."
    assert lab.ask("dns-version.clusterset.local.", "TXT").rcode() == dns.rcode.NXDOMAIN
    files = sorted((Path(__file__).parents[2] / "federation/multicluster").glob("*.yaml"))
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for file in files:
        lab.api.call("POST", definitions, yaml.safe_load(file.read_text()))
    eventually(lambda: lab.texts("dns-version.clusterset.local.", "TXT") == ['"1.0.0"'], "the zone is answered", 5)
    group = {"apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport", "metadata": {"name": "shared"}}
    spec = {"type": "ClusterSetIP", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    imports = "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/default/serviceimports"
    lab.api.call("POST", imports, {**group, "spec": spec})
    labels = {"multicluster.kubernetes.io/service-name": "shared", "multicluster.kubernetes.io/source-cluster": "b"}
    each = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6", "ports": [],
        "metadata": {"name": "shared-b", "labels": labels},
        "endpoints": [{"addresses": ["2001:db8::7"], "conditions": {"ready": True}}],
    }  # fmt: skip
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    lab.api.call("POST", slices, each)
    eventually(lambda: lab.texts(name, "AAAA") == ["2001:db8::7"], "the import is answered", 5)
    assert lab.texts(f"_http._tcp.{name}", "SRV") == [f"0 100 80 {name}"]
    assert lab.ask("shared.default.svc.cluster.local.").rcode() == dns.rcode.NXDOMAIN
    lab.api.call("DELETE", f"{imports}/shared")
    eventually(lambda: lab.ask(name, "AAAA").rcode() == dns.rcode.NXDOMAIN, "the import is gone", 5)
    for file in files:
        lab.api.call("DELETE", f"{definitions}/{yaml.safe_load(file.read_text())['metadata']['name']}")
    eventually(lambda: not lab.texts("dns-version.clusterset.local.", "TXT"), "the zone is the world's again", 5)


def test_hostile_packets_change_nothing(lab: Lab) -> None:
    chance = random.Random(7)
    seeds = [
        dns.message.make_query(name, kind, use_edns=edns).to_wire()
        for name, kind in [
            ("web.default.svc.cluster.local.", "A"),
            ("outer.default.svc.cluster.local.", "A"),
            ("crowd.default.svc.cluster.local.", "ANY"),
            ("www.example.test.", "A"),
            ("a.b.c.pod.cluster.local.", "SRV"),
        ]
        for edns in (False, 0)
    ]
    with lab.pod.socket(socket.SOCK_DGRAM) as client:
        client.connect((DNS, 53))
        for number in range(4000):
            packet = bytearray(chance.choice(seeds))
            if number % 4 == 0:
                packet = bytearray(chance.randbytes(chance.randrange(600)))
            for _ in range(chance.randrange(1, 6)):
                if packet:
                    packet[chance.randrange(len(packet))] = chance.randrange(256)
            client.send(bytes(packet[: chance.randrange(len(packet) + 1)] if number % 3 == 0 else packet))
            if number % 100 == 0:
                assert lab.texts("web.default.svc.cluster.local.") == ["10.96.7.7"]
    for _ in range(40):
        with lab.pod.socket() as client, contextlib.suppress(OSError):
            client.settimeout(1)
            client.connect((DNS, 53))
            client.send(chance.randbytes(chance.randrange(1, 300)))
    assert lab.texts("web.default.svc.cluster.local.", tcp=True) == ["10.96.7.7"]
    assert lab.texts("www.example.test.")


def test_hostile_resolver_replies_are_not_believed(lab: Lab) -> None:
    """A spoofer who guesses the port but not the ID, and garbage, do not end a question that is under way."""
    chance = random.Random(8)
    genuine = lab.upstream.answer

    def garbled(data: bytes, *, datagram: bool) -> bytes:
        packet = bytearray(genuine(data, datagram=datagram))
        for _ in range(3):
            packet[chance.randrange(len(packet))] = chance.randrange(256)
        return bytes(packet[: chance.randrange(1, len(packet) + 1)])

    lab.upstream.answer = garbled  # type: ignore[method-assign]
    try:
        threads = [
            threading.Thread(target=_ask_quietly, args=(lab, f"n{number}.example.test.")) for number in range(60)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        lab.upstream.answer = genuine  # type: ignore[method-assign]
    assert lab.texts("web.default.svc.cluster.local.") == ["10.96.7.7"]
    assert lab.ask("fresh.example.test.").rcode() == dns.rcode.NXDOMAIN


def _ask_quietly(lab: Lab, name: str) -> None:
    with contextlib.suppress(dns.exception.DNSException, OSError):
        lab.ask(name)


def test_many_pipelined_questions_on_one_connection_are_all_answered(lab: Lab) -> None:
    names = ["web.default.svc.cluster.local.", "www.example.test.", "nobody.default.svc.cluster.local."]
    queries = [dns.message.make_query(names[number % 3], "A") for number in range(60)]
    with lab.pod.socket() as client:
        client.settimeout(5)
        client.connect((DNS, 53))
        wire = b"".join(len(raw := query.to_wire()).to_bytes(2, "big") + raw for query in queries)
        for start in range(0, len(wire), 7):
            client.send(wire[start : start + 7])
        answered = set()
        stream = client.makefile("rb")
        for _ in queries:
            size = int.from_bytes(stream.read(2), "big")
            answered.add(dns.message.from_wire(stream.read(size)).id)
        stream.close()
    assert answered == {query.id for query in queries}


@pytest.mark.parametrize("name", ["web.default.svc.cluster.local.", "crowd.default.svc.cluster.local."])
def test_it_answers_thousands_of_questions_a_second(lab: Lab, name: str) -> None:
    """A floor far below what it does, so that a slow machine passes and an accident does not."""
    packet = dns.message.make_query(name, "A", use_edns=0, payload=1232).to_wire()
    count = 0
    with lab.host.socket(socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((DNS, 53))
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            for _ in range(32):
                client.send(packet)
            for _ in range(32):
                client.recv(2048)
            count += 32
    assert count > 1000, count

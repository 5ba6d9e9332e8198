"""Names follow the living: two real clusters in a real federation, asked over DNS while endpoints and clusters go."""

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest

from cluster.testing import ControlPlane, control_plane
from tests.integration.federation_processes import NEEDS_KUBECTL, Endpoint
from tests.integration.test_federation_members import cluster, eventually, federate
from tests.ports import free_ports

ZONE = "world.example"
WEB = f"web.shop.world.svc.{ZONE}"
MANAGED = {"federation.hanse.io/managed": "true"}
MANAGED_LABEL = "federation.hanse.io/managed=true"


@dataclass(frozen=True, slots=True)
class World:
    host: Endpoint
    dns_port: int
    members: dict[str, Endpoint]

    def answer(self, name: str = WEB, rtype: str = "A") -> list[str]:
        """Addresses, or the rcode's name."""
        try:
            reply = dns.query.udp(dns.message.make_query(name, rtype), "127.0.0.1", 1, self.dns_port)
        except dns.exception.Timeout:
            return ["timeout"]
        found = sorted(one.to_text() for rrset in reply.answer if rrset.rdtype in (1, 28) for one in rrset)
        return found or [dns.rcode.to_text(reply.rcode())]

    def answers(self, wanted: list[str], name: str = WEB, seconds: float = 20) -> None:
        eventually(lambda: self.answer(name) == wanted, f"{name} is {wanted}, not {self.answer(name)}", seconds)


def as_endpoint(home: Path, plane: ControlPlane) -> Endpoint:
    return Endpoint(home, plane.url, plane.kubeconfig)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("home")
    api, port = free_ports(2)
    with contextlib.ExitStack() as running:
        planes = {name: running.enter_context(control_plane(hollow_nodes=1)) for name in ("one", "two")}
        ports = (f"--secure-port={api}", f"--dns-port={port}")
        federate(home, "init", "world", f"--dns-zone={ZONE}", *ports)
        running.callback(federate, home, "destroy", "world")
        host = Endpoint(home, f"https://127.0.0.1:{api}", home / "federations" / "world" / "kubeconfig")
        for name, plane in planes.items():
            federate(home, "join", name, f"--kubeconfig={plane.kubeconfig}")
            eventually(lambda name=name: cluster(home, name).get("phase") == "Ready", f"{name} is ready", 20)  # type: ignore[misc]
        yield World(host, port, {name: as_endpoint(home, plane) for name, plane in planes.items()})


def apply(endpoint: Endpoint, *objects: dict[str, Any]) -> None:
    endpoint.did(
        "apply", "--server-side", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )


def obj(api: str, kind: str, name: str, namespace: str = "", **rest: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, **rest.pop("metadata", {})}
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": metadata | ({"namespace": namespace} if namespace else {}),
        **rest,
    }


def template(world: World, name: str, kind: str) -> None:
    """A Service, as a user makes it; returns when every member has it."""
    service = obj("v1", "Service", name, "shop", spec={"type": kind, "ports": [{"port": 80}]})
    apply(world.host, obj("v1", "Namespace", "shop"), service)
    for member, endpoint in world.members.items():
        eventually(functools.partial(has, endpoint, name), f"{name} is in {member}", 20)


def has(member: Endpoint, name: str) -> bool:
    found = member.kubectl("get", "services", "-n", "shop", "-l", MANAGED_LABEL, "-o", "name").stdout
    return f"service/{name}" in found.split()


def serve(world: World, member: str, name: str, *, ready: bool = True) -> None:
    """One endpoint of the Service there."""
    labels = {**MANAGED, "kubernetes.io/service-name": name}
    endpoints = [{"addresses": ["10.0.0.7"], "conditions": {"ready": ready}}]
    apply(
        world.members[member],
        obj(
            "discovery.k8s.io/v1", "EndpointSlice", f"{name}-x", "shop", metadata={"labels": labels},
            addressType="IPv4", ports=[{"port": 80}], endpoints=endpoints,
        ),
    )  # fmt: skip


def balance(world: World, member: str, name: str, *addresses: str) -> None:
    """What a load balancer's controller says in the member."""
    status = {"status": {"loadBalancer": {"ingress": [{"ip": one} for one in addresses]}}}
    world.members[member].did(
        "patch", "service", name, "-n", "shop", "--subresource=status", "--type=merge", "-p", json.dumps(status)
    )


@NEEDS_KUBECTL
def test_a_web_application_is_answered_with_both_clusters_until_its_endpoints_go(world: World) -> None:
    template(world, "web", "LoadBalancer")
    for member, address in (("one", "192.0.2.1"), ("two", "192.0.2.2")):
        balance(world, member, "web", address)
        serve(world, member, "web")
    world.answers(["192.0.2.1", "192.0.2.2"])
    assert federate(world.host.home, "dns", "plan") == {"steps": []}
    serve(world, "one", "web", ready=False)
    world.answers(["192.0.2.2"], seconds=5)
    serve(world, "two", "web", ready=False)
    world.answers(["NXDOMAIN"], seconds=5)
    serve(world, "two", "web")
    world.answers(["192.0.2.2"], seconds=5)
    world.host.did("delete", "service", "web", "-n", "shop")
    world.answers(["NXDOMAIN"], seconds=5)


@NEEDS_KUBECTL
def test_without_a_load_balancer_nodes_are_answered(world: World) -> None:
    for member, address in (("one", "198.51.100.1"), ("two", "198.51.100.2")):
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
        world.members[member].did(
            "patch", "node", "node-1", "--subresource=status", "--type=merge", "-p", json.dumps(status)
        )
    for kind in ("NodePort", "LoadBalancer"):
        name = f"by-{kind.lower()}"
        template(world, name, kind)
        for member in world.members:
            serve(world, member, name)
        world.answers(["198.51.100.1", "198.51.100.2"], f"{name}.shop.world.svc.{ZONE}")
    # a load balancer that comes goes before the nodes
    balance(world, "one", "by-loadbalancer", "192.0.2.7")
    world.answers(["192.0.2.7", "198.51.100.2"], f"by-loadbalancer.shop.world.svc.{ZONE}")

"""A Service placed in two members is answered by the federation's name server, and changes with its members."""

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key
from federation.api.kinds import GROUP
from federation.api.resources import DNS_RECORD_SETS
from federation.controllers.publish_dns import (
    PublishDns,
    PublishSettings,
    Sources,
)
from federation.dns.addresses import ServiceFacts
from tests.integration.control_plane_processes import process
from tests.integration.federation_processes import federation_apiserver
from tests.ports import free_port

WEB = "web.shop.fed.svc.example.com"
KEY = Key("shop", "web")


def kind(plural: str, name: str, *, group: str = GROUP, namespaced: bool = True) -> Resource:
    return dataclasses.replace(DNS_RECORD_SETS, group=group, plural=plural, kind=name, namespaced=namespaced)


PLACEMENTS = kind("placements", "Placement")
POLICIES = kind("dnspolicies", "DNSPolicy")
CLUSTER_POLICIES = kind("clusterdnspolicies", "ClusterDNSPolicy", namespaced=False)
CLUSTERS = kind("clusters", "Cluster", group="federation", namespaced=False)


@dataclass
class Members:
    """Facts as a member's informers would hand them over."""

    known: dict[str, ServiceFacts] = field(default_factory=dict)
    calls: list[Callable[[Key], None]] = field(default_factory=list)

    def facts(self, cluster: str, service: Key, source: str) -> ServiceFacts | None:
        return self.known.get(cluster) if service == KEY else None

    def on_change(self, call: Callable[[Key], None]) -> None:
        self.calls.append(call)

    def say(self, cluster: str, ready: int, *addresses: str) -> None:
        self.known[cluster] = ServiceFacts(addresses, (), ready)
        for call in self.calls:
            call(KEY)


async def ask(port: int, name: str) -> tuple[int, list[str]]:
    try:
        answer = await dns.asyncquery.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=0.3)
    except (OSError, dns.exception.DNSException):
        return -1, []
    return answer.rcode(), sorted(one.to_text() for rrset in answer.answer if rrset.rdtype == 1 for one in rrset)


async def until(port: int, name: str, wanted: list[str], rcode: int = dns.rcode.NOERROR) -> None:
    deadline = time.monotonic() + 15
    while (got := await ask(port, name)) != (rcode, wanted):
        assert time.monotonic() < deadline, (name, got, wanted)
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def publishing(client: ApiClient, members: Members) -> AsyncIterator[None]:
    kinds = (resources.SERVICES, PLACEMENTS, CLUSTERS, POLICIES, CLUSTER_POLICIES, DNS_RECORD_SETS)
    sources = Sources(*(Informer(client, one) for one in kinds))
    publish = PublishDns(PublishSettings("fed", "uid-1", "example.com"), client, sources, members)
    informers = (sources.services, sources.placements, sources.clusters, sources.policies,
                 sources.cluster_policies, sources.record_sets)  # fmt: skip
    tasks = [asyncio.create_task(each.run()) for each in (*informers, publish)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def create_service(client: ApiClient, clusters: list[str]) -> None:
    def obj(resource: Resource, name: str, spec: dict[str, Any], namespace: str = "") -> dict[str, Any]:
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}

    for number, name in enumerate(clusters):
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": "https://192.0.2.1:6443"}
        spec = {"serverAddressByClientCIDRs": [address], "region": f"r{number}", "zones": [f"z{number}"]}
        created = await client.create(CLUSTERS, obj(CLUSTERS, name, spec))
        await client.update(CLUSTERS, {**created, "status": {"phase": "Ready"}}, subresource="status")
    await client.create(resources.NAMESPACES, obj(resources.NAMESPACES, "shop", {}))
    ports = [{"port": 80, "protocol": "TCP"}]
    await client.create(resources.SERVICES, obj(resources.SERVICES, "web", {"ports": ports}, "shop"))
    template = {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web"}
    placed = {"template": template, "clusters": [{"name": name} for name in clusters]}
    await client.create(PLACEMENTS, obj(PLACEMENTS, "service-web", placed, "shop"))


async def test_a_service_is_answered_where_it_serves_until_it_is_deleted(tmp_path: Path) -> None:
    port, members = free_port(), Members()
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(federation_apiserver(tmp_path / "home"))
        stack.enter_context(
            process(
                tmp_path / "dns.log", sys.executable, "-m", "federation.dns_server",
                f"--kubeconfig={api.kubeconfig}", "--zone=example.com", f"--port={port}",
            )
        )  # fmt: skip
        async with ApiClient.from_kubeconfig(str(api.kubeconfig)) as client, publishing(client, members):
            await create_service(client, ["a", "b"])
            members.say("a", 1, "192.0.2.1")
            members.say("b", 2, "192.0.2.2")
            await until(port, WEB, ["192.0.2.1", "192.0.2.2"])
            await until(port, "web.shop.fed.svc.z0.r0.example.com", ["192.0.2.1"])
            members.say("a", 0, "192.0.2.1")
            await until(port, WEB, ["192.0.2.2"])
            # the zone without endpoints leads to where there are some
            await until(port, "web.shop.fed.svc.z0.r0.example.com", ["192.0.2.2"])
            members.say("a", 1, "192.0.2.1")
            await until(port, WEB, ["192.0.2.1", "192.0.2.2"])
            # a remedy takes its traffic away
            remedy = {"name": "names", "since": "2026-01-02T03:04:05Z", "traffic": "Stop"}
            await client.patch(CLUSTERS, "a", {"status": {"remedies": [remedy]}}, subresource="status")
            await until(port, WEB, ["192.0.2.2"])
            await client.patch(CLUSTERS, "a", {"status": {"remedies": []}}, subresource="status")
            cluster = await client.get(CLUSTERS, "b")
            lost = {**cluster, "status": {**cluster["status"], "phase": "Unreachable"}}
            await client.update(CLUSTERS, lost, subresource="status")
            await until(port, WEB, ["192.0.2.1"])
            members.say("a", 0, "192.0.2.1")
            members.say("a", 1, "192.0.2.1")
            await until(port, WEB, ["192.0.2.1"])
            await client.delete(resources.SERVICES, "web", namespace="shop")
            await until(port, WEB, [], dns.rcode.NXDOMAIN)
            assert not (await client.list(DNS_RECORD_SETS))["items"]

"""A federation under test with its name server: a web application in every member, and whoever asks for it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.edns
import dns.exception
import dns.message
import dns.rcode

from cluster.api import resources
from cluster.machinery.objects import Object
from federation.api.resources import CLUSTERS, DNS_POLICIES
from tests.fakes.member.peculiarities import Peculiarities
from tests.federations.world import World, stop, world
from tests.histories.servers import Server
from tests.integration.federation_members import deployment
from tests.ports import free_port

ZONE = "example.com"
WEB = f"web.shop.fed.svc.{ZONE}"
PATIENCE = 20.0  # seconds


def address(at: int) -> str:
    """Of the load balancer in member number `at`."""
    return f"192.0.2.{at + 1}"


@dataclass
class Names:
    world: World
    port: int

    async def ask(self, name: str = WEB, rtype: str = "A", *, client: str = "") -> list[str]:
        """Addresses, or the rcode's name; NODATA where there is a name without addresses. `client`: a subnet of ECS."""
        return (await self.reply(name, rtype, client=client))[0]

    async def reply(self, name: str = WEB, rtype: str = "A", *, client: str = "") -> tuple[list[str], int]:
        """And the TTL."""
        query = dns.message.make_query(name, rtype)
        if client:
            network, _, length = client.partition("/")
            query.use_edns(options=[dns.edns.ECSOption(network, int(length))])
        try:
            answer = await dns.asyncquery.udp(query, "127.0.0.1", 2, self.port)
        except dns.exception.Timeout:
            return ["TIMEOUT"], 0
        records = [rrset for rrset in answer.answer if rrset.rdtype == dns.rdatatype.from_text(rtype)]
        found = sorted(one.to_text() for rrset in records for one in rrset)
        if found:
            return found, records[-1].ttl
        code = dns.rcode.to_text(answer.rcode())
        return ["NODATA" if code == "NOERROR" else code], 0

    async def until(self, wanted: list[str], name: str = WEB, *, seconds: float = PATIENCE, client: str = "") -> None:
        """Raises AssertionError, with what is answered instead."""
        found: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (found := await self.ask(name, client=client)) != wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                return
        raise AssertionError(f"{name} is {found}, not {wanted}, after {seconds:g} s")

    def endpoints(self, member: str, *, ready: bool, name: str = "web") -> None:
        """Make those of the Service ready there, or not."""
        found = self.world.members[member]
        for kind in (resources.ENDPOINT_SLICES, resources.ENDPOINTS):
            for obj in found.objects(kind, "shop"):
                if obj["metadata"]["name"].startswith(name):
                    found.put(kind, _ready(obj, ready=ready))

    async def policy(self, **spec: Any) -> None:
        """In place of the one of before."""
        wanted: Object = {"apiVersion": DNS_POLICIES.api_version, "kind": "DNSPolicy",
                          "metadata": {"name": "policy", "namespace": "shop"}, "spec": spec}  # fmt: skip
        present = (await self.world.api.list(DNS_POLICIES, namespace="shop"))["items"]
        if present:
            await self.world.api.update(DNS_POLICIES, {**present[0], "spec": spec})
        else:
            await self.world.api.create(DNS_POLICIES, wanted)

    async def place(self, member: str, region: str, *zones: str) -> None:
        """Where the member says it is."""
        patch = {"spec": {"region": region, "zones": list(zones)}}
        await self.world.api.patch(CLUSTERS, member, patch)


def _ready(obj: Object, *, ready: bool) -> Object:
    if "addressType" in obj:
        for endpoint in obj["endpoints"]:
            endpoint["conditions"] = {"ready": ready}
        return obj
    for subset in obj.get("subsets") or ():
        here, there = ("addresses", "notReadyAddresses") if ready else ("notReadyAddresses", "addresses")
        subset[here] = [*subset.get(here, ()), *subset.pop(there, ())]
    return obj


@contextlib.asynccontextmanager
async def named_world(
    home: Path, members: int, *, behaves: dict[str, Peculiarities] | None = None
) -> AsyncIterator[Names]:
    """Members m0, m1, … are Ready, and the name of Service shop/web is answered with all of them."""
    odd = behaves or {}
    wanted = {f"m{at}": odd.get(f"m{at}", Peculiarities()) for at in range(members)}
    for at, one in enumerate(wanted.values()):
        one.load_balancer = address(at)
    port = free_port()
    async with world(home, behaves=wanted, flags=("--federation-name=fed", f"--dns-zone={ZONE}")) as federation:
        server = Server(
            "federation-dns", "",
            [sys.executable, "-m", "federation.dns_server", f"--kubeconfig={home}/admin.kubeconfig", f"--zone={ZONE}",
             f"--port={port}", "--rate-limit=0"],
            home / "dns.log",
        )  # fmt: skip
        await server.start()
        try:
            await federation.wait_phase(*wanted)
            names = Names(federation, port)
            await _make_application(federation, members)
            await names.until([address(at) for at in range(members)])
            yield names
        finally:
            await stop(server)


async def _make_application(federation: World, members: int) -> None:
    namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    spec = {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]}
    service: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}}
    await federation.api.create(resources.NAMESPACES, namespace)
    await federation.api.create(resources.DEPLOYMENTS, deployment("web", "shop", replicas=2 * members))
    await federation.api.create(resources.SERVICES, {**service, "spec": spec})

"""A Service that one member exports is imported by the others, with its endpoints, until it is exported no more."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.testing import control_plane
from federation.membership.join import join
from federation.membership.leave import leave
from federation.multicluster.kinds import EXPORTS, IMPORTS, SERVICE_LABEL
from tests.integration.control_plane_processes import process
from tests.integration.federation_processes import Endpoint, federation_apiserver

PORT = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}


@dataclass(frozen=True)
class Started:
    api: Endpoint
    kubeconfigs: dict[str, Path]
    lose_a: Callable[[], None]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    home = tmp_path_factory.mktemp("imports")
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(federation_apiserver(home))
        a = stack.enter_context(contextlib.ExitStack())
        planes = {"a": a.enter_context(control_plane()), "b": stack.enter_context(control_plane())}
        stack.enter_context(
            process(
                home / "manager.log", sys.executable, "-m", "federation.controller_manager",
                f"--kubeconfig={api.kubeconfig}", "--leader-elect=false",
            )
        )  # fmt: skip
        yield Started(api, {name: Path(plane.kubeconfig) for name, plane in planes.items()}, a.close)


@dataclass(frozen=True)
class Member:
    client: ApiClient
    cluster: str
    namespace: str

    async def create(self, resource: Resource, name: str, **fields: Any) -> Object:
        metadata = {"name": name, "namespace": self.namespace, **fields.pop("metadata", {})}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **fields}
        return await self.client.create(resource, body)

    async def serve(self, name: str, address: str, *, export: bool = True, **spec: Any) -> None:
        await self.create(resources.SERVICES, name, spec={"ports": [PORT], **spec})
        labels = {"kubernetes.io/service-name": name}
        endpoint = {"addresses": [address], "conditions": {"ready": True}, "hostname": f"{name}-0"}
        ports = [{"name": "http", "protocol": "TCP", "port": 8080}]
        await self.create(
            resources.ENDPOINT_SLICES, f"{name}-1", metadata={"labels": labels}, addressType="IPv4", ports=ports,
            endpoints=[endpoint],
        )  # fmt: skip
        if export:
            await self.export(name)

    async def export(self, name: str) -> None:
        await self.create(EXPORTS, name)

    async def imported(self, name: str) -> Object | None:
        try:
            return await self.client.get(IMPORTS, name, namespace=self.namespace)
        except NotFound:
            return None

    async def addresses(self, name: str) -> list[str]:
        page = await self.client.list(
            resources.ENDPOINT_SLICES, namespace=self.namespace, label_selector=f"{SERVICE_LABEL}={name}"
        )
        found = [one for each in page["items"] for one in each.get("endpoints") or ()]
        return sorted(address for one in found for address in one["addresses"])

    async def condition(self, name: str, kind: str) -> tuple[str, str]:
        export = await self.client.get(EXPORTS, name, namespace=self.namespace)
        conditions = (export.get("status") or {}).get("conditions") or ()
        return next(((one["status"], one["reason"]) for one in conditions if one["type"] == kind), ("", ""))


@dataclass(frozen=True)
class Lab:
    federation: ApiClient
    a: Member
    b: Member


@pytest.fixture
async def lab(started: Started, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    namespace = f"shop-{abs(hash(request.node.name)) % 10_000}"
    async with contextlib.AsyncExitStack() as stack:
        federation = await stack.enter_async_context(ApiClient.from_kubeconfig(started.api.kubeconfig))
        members = {}
        for name, path in started.kubeconfigs.items():
            await join(federation, name, load_kubeconfig(path))
            client = await stack.enter_async_context(ApiClient.from_kubeconfig(path))
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            await client.create(resources.NAMESPACES, body)
            members[name] = Member(client, name, namespace)
            await until(partial(answers, client, EXPORTS), True)
        yield Lab(federation, **members)


async def answers(client: ApiClient, resource: Resource) -> bool:
    try:
        await client.list(resource, limit=1)
    except ApiError:
        return False
    return True


async def until(ask: Callable[[], Awaitable[Any]], wanted: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while (got := await ask()) != wanted:
        assert time.monotonic() < deadline, (got, wanted)
        await asyncio.sleep(0.05)


async def test_an_exported_service_is_imported_by_all_who_have_the_namespace(lab: Lab) -> None:
    await lab.a.export("web")
    await until(lambda: lab.a.condition("web", "Valid"), ("False", "NoService"))
    assert await lab.b.imported("web") is None
    await lab.a.serve("web", "10.1.0.1", export=False)
    for member in (lab.a, lab.b):
        await until(partial(member.addresses, "web"), ["10.1.0.1"])
        await until(partial(named, member, "web"), ["a"])
        found = await member.imported("web")
        assert found is not None
        service = (await member.client.list(
            resources.SERVICES, namespace=member.namespace, label_selector="federation.hanse.io/imported=web"
        ))["items"]  # fmt: skip
        assert found["spec"]["ips"] == service[0]["spec"]["clusterIPs"]
        assert found["spec"]["ports"] == [{"name": "http", "protocol": "TCP", "port": 80}]
    await until(lambda: lab.a.condition("web", "Ready"), ("True", "Exported"))
    await lab.b.serve("web", "10.2.0.1")
    await until(lambda: lab.a.addresses("web"), ["10.1.0.1", "10.2.0.1"])
    await until(lambda: lab.a.condition("web", "Conflict"), ("False", "NoConflicts"))
    await lab.a.client.delete(EXPORTS, "web", namespace=lab.a.namespace)
    await until(lambda: lab.b.addresses("web"), ["10.2.0.1"])
    await lab.b.client.delete(EXPORTS, "web", namespace=lab.b.namespace)
    for member in (lab.a, lab.b):
        await until(partial(member.imported, "web"), None)
        await until(partial(member.addresses, "web"), [])
        assert await member.client.get(resources.SERVICES, "web", namespace=member.namespace)


async def named(member: Member, service: str) -> list[str]:
    """Clusters that the import names."""
    found = await member.imported(service)
    return [one["cluster"] for one in ((found or {}).get("status") or {}).get("clusters") or ()]


async def test_contradictions_are_told_on_both_exports_and_the_older_prevails(lab: Lab) -> None:
    await lab.a.serve("db", "10.1.0.2", clusterIP="None")
    await asyncio.sleep(1.1)  # ages are told in seconds
    await lab.b.serve("db", "10.2.0.2")
    for member in (lab.a, lab.b):
        await until(partial(member.condition, "db", "Conflict"), ("True", "TypeConflict"))
        found = await member.imported("db")
        assert found is not None
        assert (found["spec"]["type"], "ips" in found["spec"]) == ("Headless", False)
        await until(partial(member.addresses, "db"), ["10.1.0.2"])
    await lab.a.client.delete(EXPORTS, "db", namespace=lab.a.namespace)
    await until(lambda: lab.a.addresses("db"), ["10.2.0.2"])
    found = await lab.a.imported("db")
    assert found is not None
    assert found["spec"]["type"] == "ClusterSetIP"
    assert found["spec"]["ips"]


async def test_endpoints_follow_and_a_cluster_that_left_answers_no_more(lab: Lab) -> None:
    await lab.a.serve("api", "10.1.0.3")
    await lab.b.serve("api", "10.2.0.3")
    await until(lambda: lab.a.addresses("api"), ["10.1.0.3", "10.2.0.3"])
    change = {"endpoints": [{"addresses": ["10.2.0.4"], "conditions": {"ready": True}}]}
    await lab.b.client.patch(resources.ENDPOINT_SLICES, "api-1", change, namespace=lab.b.namespace)
    await until(lambda: lab.a.addresses("api"), ["10.1.0.3", "10.2.0.4"])
    slices = await lab.a.client.list(
        resources.ENDPOINT_SLICES, namespace=lab.a.namespace, label_selector=f"{SERVICE_LABEL}=api"
    )
    for each in slices["items"]:  # what somebody takes away comes back
        await lab.a.client.delete(resources.ENDPOINT_SLICES, each["metadata"]["name"], namespace=lab.a.namespace)
    await until(lambda: lab.a.addresses("api"), ["10.1.0.3", "10.2.0.4"])
    left = await lab.b.imported("api")
    assert left is not None  # goes with what it belongs to, by the member's own garbage collector
    assert [owner["name"] for owner in left["metadata"]["ownerReferences"]] == ["federation-system"]
    await leave(lab.federation, "b")
    await until(lambda: lab.a.addresses("api"), ["10.1.0.3"])


async def test_who_is_lost_is_answered_no_more_and_who_has_no_namespace_imports_nothing(
    lab: Lab, started: Started
) -> None:
    await lab.a.serve("cart", "10.1.0.9")
    await lab.b.serve("cart", "10.2.0.9")
    await until(lambda: lab.b.addresses("cart"), ["10.1.0.9", "10.2.0.9"])
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "only-b"}}
    await lab.b.client.create(resources.NAMESPACES, body)
    alone = Member(lab.b.client, "b", "only-b")
    await alone.serve("cart", "10.2.0.10")
    await until(partial(alone.condition, "cart", "Ready"), ("True", "Exported"))
    await until(partial(alone.addresses, "cart"), ["10.2.0.10"])
    assert await Member(lab.a.client, "a", "only-b").imported("cart") is None
    await asyncio.to_thread(started.lose_a)
    await until(lambda: lab.b.addresses("cart"), ["10.2.0.9"], 40)

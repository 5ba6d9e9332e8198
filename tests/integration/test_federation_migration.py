"""What runs in a cluster becomes the federation's, and moves to another cluster, without a gap."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.testing import control_plane
from federation.api.resources import CLUSTERS, PROPAGATION_POLICIES
from federation.migration.move import Mover
from federation.migration.promote import Promoter, Refused
from federation.placement.render import MANAGED
from tests.integration.federation_members import (
    clients,
    config_map,
    controllers,
    deployment,
    eventually,
    get,
    join_members,
)
from tests.integration.federation_processes import Endpoint, federation_apiserver

WEB: list[tuple[Resource, str]] = [(resources.DEPLOYMENTS, "web")]
WHOLE = [*WEB, (resources.SERVICES, "web"), (resources.CONFIG_MAPS, "settings")]


@dataclass
class World:
    federation: ApiClient
    east: ApiClient
    west: ApiClient
    said: list[str] = field(default_factory=list)

    def promoter(self) -> Promoter:
        return Promoter(self.federation, "east", self.east, self.said.append)


@pytest.fixture(scope="module")
def kubeconfigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    home = tmp_path_factory.mktemp("federation")
    with (
        control_plane(hollow_nodes=2) as east,
        control_plane(hollow_nodes=2) as west,
        federation_apiserver(home) as api,
        controllers(api),
    ):
        members = {"east": east.kubeconfig, "west": west.kubeconfig}
        asyncio.run(_join(api, members))
        yield {"federation": api.kubeconfig, **members}


async def _join(api: Endpoint, members: dict[str, Path]) -> None:
    async with ApiClient.from_kubeconfig(api.kubeconfig) as client:
        await join_members(client, members)

        async def ready() -> bool:
            found = (await client.list(CLUSTERS))["items"]
            return all((one.get("status") or {}).get("phase") == "Ready" for one in found)

        await eventually("both members are ready", ready)


@pytest.fixture
async def world(kubeconfigs: dict[str, Path]) -> AsyncIterator[World]:
    async with clients(kubeconfigs["federation"], kubeconfigs["east"], kubeconfigs["west"]) as [one, two, three]:
        yield World(one, two, three)


async def shop(world: World, namespace: str) -> Object:
    """An application of Deployment, Service and ConfigMap that runs in east; the Deployment."""
    name = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"team": "shop"}}}
    await world.east.create(resources.NAMESPACES, name)

    async def account() -> Any:
        return await get(world.east, resources.SERVICE_ACCOUNTS, "default", namespace)

    await eventually("the namespace has its account", account)
    await world.east.create(resources.CONFIG_MAPS, config_map("settings", namespace))
    web = deployment("web", namespace)
    pod = web["spec"]["template"]["spec"]
    pod["containers"][0]["envFrom"] = [{"configMapRef": {"name": "settings"}}]
    await world.east.create(resources.DEPLOYMENTS, web)
    service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace}}
    await world.east.create(resources.SERVICES, {**head, "spec": service})
    return await ready(world.east, namespace)


async def ready(member: ApiClient, namespace: str) -> Object:
    async def look() -> Object | None:
        found = await get(member, resources.DEPLOYMENTS, "web", namespace)
        status = (found or {}).get("status") or {}
        return found if found is not None and status.get("readyReplicas") == found["spec"]["replicas"] else None

    found: Object = await eventually("the Deployment is ready", look)
    return found


async def pods(member: ApiClient, namespace: str) -> dict[str, str]:
    """uids by name, of those that are there and not going."""
    listed = (await member.list(resources.PODS, namespace=namespace)).get("items") or ()
    return {
        one["metadata"]["name"]: one["metadata"]["uid"]
        for one in listed
        if not one["metadata"].get("deletionTimestamp")
    }


async def ready_pods(member: ApiClient, namespace: str) -> int:
    listed = (await member.list(resources.PODS, namespace=namespace)).get("items") or ()
    return sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in (one.get("status") or {}).get("conditions") or ())
        for one in listed
        if not one["metadata"].get("deletionTimestamp")
    )


async def cordon(member: ApiClient, *, unschedulable: bool) -> None:
    for node in (await member.list(resources.NODES))["items"]:
        await member.patch(resources.NODES, node["metadata"]["name"], {"spec": {"unschedulable": unschedulable}})


async def test_what_runs_is_promoted_without_a_restart_and_moves_without_a_gap(world: World) -> None:
    before = await shop(world, "whole")
    running = await pods(world.east, "whole")
    assert len(running) == 2

    promotion = await world.promoter().plan(WEB, "whole")
    assert promotion.namespace_template is not None
    assert [one.ref.kind for one in promotion.objects] == ["ConfigMap", "Service", "Deployment"]
    assert await get(world.federation, resources.NAMESPACES, "whole") is None  # so far nothing was written
    await world.promoter().carry_out(promotion, 40)

    after = await ready(world.east, "whole")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"] == before["spec"]
    assert after["metadata"]["labels"][MANAGED] == "true"
    assert await pods(world.east, "whole") == running
    assert "Deployment.apps whole/web is adopted in east, unchanged." in world.said
    template = await get(world.federation, resources.SERVICES, "web", "whole")
    assert template is not None
    assert template["spec"]["clusterIP"] == "0.0.0.0"
    for resource, name in WHOLE:
        assert await get(world.west, resource, name, "whole") is None
    with pytest.raises(Refused, match="is federated already"):
        await world.promoter().plan(WEB, "whole")

    mover = Mover(world.federation, world.said.append)
    plan = await mover.plan(WEB, "whole", "east", "west", leave_data=False)
    assert len(plan.policies) == 2
    least = 2

    async def count() -> None:
        nonlocal least
        while True:
            least = min(least, await ready_pods(world.east, "whole") + await ready_pods(world.west, "whole"))
            await asyncio.sleep(0.02)

    counting = asyncio.create_task(count())
    await mover.carry_out(plan, 40)
    counting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await counting
    assert least >= 2
    assert (await ready(world.west, "whole"))["spec"]["replicas"] == 2
    for resource, name in WHOLE:
        assert await get(world.east, resource, name, "whole") is None
        assert await get(world.west, resource, name, "whole") is not None


async def test_what_has_no_namespace_is_promoted_and_stays_where_it_is(world: World) -> None:
    roles = resources.named("clusterroles.rbac.authorization.k8s.io")
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    head = {"apiVersion": roles.api_version, "kind": roles.kind, "metadata": {"name": "looks"}}
    before = await world.east.create(roles, {**head, "rules": [rule]})
    with pytest.raises(Refused, match="one after the other"):
        await world.promoter().plan([(roles, "looks"), *WEB], "whole")
    plan = await world.promoter().plan([(roles, "looks")], "default")
    assert plan.lines()[-1] == "ClusterPropagationPolicy clusterrole-looks-parts: keeps them in east"
    await world.promoter().carry_out(plan, 40)
    after = await world.east.get(roles, "looks")
    assert (after["metadata"]["uid"], after["metadata"]["labels"]) == (before["metadata"]["uid"], {MANAGED: "true"})
    assert await world.federation.get(roles, "looks")
    assert await get(world.west, roles, "looks") is None
    with pytest.raises(Refused, match="moves by its ClusterPropagationPolicy"):
        await Mover(world.federation).plan([(roles, "looks")], "default", "east", "west", leave_data=False)


async def test_a_move_that_does_not_get_ready_is_put_back(world: World) -> None:
    await shop(world, "stuck")
    await world.promoter().carry_out(await world.promoter().plan(WEB, "stuck"), 40)
    running = await pods(world.east, "stuck")
    await cordon(world.west, unschedulable=True)
    mover = Mover(world.federation)
    with pytest.raises(Refused, match=r"not ready in west.*the policies are as they were"):
        await mover.carry_out(await mover.plan(WEB, "stuck", "east", "west", leave_data=False), 3)

    async def back() -> bool:
        gone = await get(world.west, resources.DEPLOYMENTS, "web", "stuck") is None
        return gone and await get(world.west, resources.CONFIG_MAPS, "settings", "stuck") is None

    await eventually("west has nothing of it", back)
    await cordon(world.west, unschedulable=False)
    assert await pods(world.east, "stuck") == running


async def test_what_cannot_be_promoted_says_why_and_changes_nothing(world: World) -> None:
    await shop(world, "refused")
    [replica_set] = (await world.east.list(resources.named("replicasets.apps"), namespace="refused"))["items"]
    cases = [
        ((resources.DEPLOYMENTS, "other"), 'east has no deployments.apps "other"'),
        ((resources.named("replicasets.apps"), replica_set["metadata"]["name"]), "Deployment web made it"),
        ((resources.PODS, next(iter(await pods(world.east, "refused")))), "made it and would make it again"),
        ((resources.SERVICE_ACCOUNTS, "default"), "does not propagate it"),
    ]
    for wanted, why in cases:
        with pytest.raises(Refused, match=why):
            await world.promoter().plan([wanted], "refused")
    assert await get(world.federation, resources.NAMESPACES, "refused") is None


async def test_a_promotion_that_ends_in_a_conflict_is_taken_back(world: World) -> None:
    await shop(world, "conflict")
    promoter = world.promoter()
    plan = await promoter.plan(WEB, "conflict")
    # Somebody changes it between the dry run and the adoption.
    change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "registry.test/web:2"}]}}}}
    await world.east.patch(resources.DEPLOYMENTS, "web", change, namespace="conflict", patch_type="strategic")
    await ready(world.east, "conflict")
    with pytest.raises(Refused, match=r"Conflict.*all is taken back"):
        await promoter.carry_out(plan, 40)
    for resource, name in WHOLE:
        assert await get(world.federation, resource, name, "conflict") is None
        there = await get(world.east, resource, name, "conflict")
        assert there is not None
        assert MANAGED not in (there["metadata"].get("labels") or {})
    assert not (await world.federation.list(PROPAGATION_POLICIES, namespace="conflict"))["items"]
    # The same again, of what is there now, works.
    await world.promoter().carry_out(await world.promoter().plan(WEB, "conflict"), 40)
    assert "registry.test/web:2" in json.dumps(await get(world.federation, resources.DEPLOYMENTS, "web", "conflict"))


async def test_what_is_killed_anywhere_goes_on_when_it_is_run_again(world: World) -> None:
    await shop(world, "killed")
    running = await pods(world.east, "killed")
    for seconds in (0.03, 0.1, 0.2, 0.4):
        with contextlib.suppress(TimeoutError, Refused):
            plan = await world.promoter().plan(WEB, "killed")
            await killed_after(seconds, world.promoter().carry_out(plan, 40))
    with contextlib.suppress(Refused):  # which is right when nothing is left to do
        await world.promoter().carry_out(await world.promoter().plan(WEB, "killed"), 40)
    for resource, name in WHOLE:
        found = await get(world.east, resource, name, "killed")
        assert found is not None
        assert found["metadata"]["labels"][MANAGED] == "true"
        assert await get(world.west, resource, name, "killed") is None
    assert await pods(world.east, "killed") == running

    mover = Mover(world.federation)
    for seconds in (0.05, 0.2, 0.5, 1.0):
        with contextlib.suppress(TimeoutError, Refused):
            plan_of_move = await mover.plan(WEB, "killed", "east", "west", leave_data=False)
            await killed_after(seconds, mover.carry_out(plan_of_move, 40))
    with contextlib.suppress(Refused):
        await mover.carry_out(await mover.plan(WEB, "killed", "east", "west", leave_data=False), 40)
    await ready(world.west, "killed")

    async def left() -> bool:
        return not any([await get(world.east, resource, name, "killed") for resource, name in WHOLE])

    await eventually("east has nothing of it", left)


async def killed_after(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Cancelled, which nothing in it catches: it stops where it is. Raises TimeoutError."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        raise TimeoutError
    await task

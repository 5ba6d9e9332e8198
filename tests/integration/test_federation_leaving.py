"""Real members leave: what runs there stays or goes as was asked, and Placements forget them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.api.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.testing import ControlPlane, control_plane
from federation.api.resources import CLUSTER_PLACEMENTS, CLUSTERS, PLACEMENTS, PROPAGATION_POLICIES
from federation.membership.leave import leave
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


class World(NamedTuple):
    federation: ApiClient
    east: ApiClient
    west: ApiClient
    planes: tuple[ControlPlane, ControlPlane]


@pytest.fixture(scope="module")
def members() -> Iterator[tuple[ControlPlane, ControlPlane]]:
    with control_plane(hollow_nodes=1) as east, control_plane(hollow_nodes=1) as west:
        yield east, west


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with federation_apiserver(tmp_path_factory.mktemp("federation")) as running, controllers(running):
        yield running


@pytest.fixture
async def world(endpoint: Endpoint, members: tuple[ControlPlane, ControlPlane]) -> AsyncIterator[World]:
    paths: dict[str, Path] = {"east": members[0].kubeconfig, "west": members[1].kubeconfig}
    async with clients(endpoint.kubeconfig, *paths.values()) as [federation, east, west]:
        await join_members(federation, paths)
        yield World(federation, east, west, members)


async def named(federation: ApiClient, cluster: str) -> list[str]:
    lists = [await federation.list(resource) for resource in (PLACEMENTS, CLUSTER_PLACEMENTS)]
    placements = [one for found in lists for one in found["items"]]
    return [one["metadata"]["name"] for one in placements if f"'{cluster}'" in str(one["spec"])]


async def ready(federation: ApiClient, *names: str) -> None:
    async def are() -> bool:
        found = [await federation.get(CLUSTERS, name) for name in names]
        return all((one.get("status") or {}).get("phase") == "Ready" for one in found)

    await eventually("members are ready", are)


async def test_a_member_leaves_with_what_it_runs_or_without_and_replicas_go_on_elsewhere(world: World) -> None:
    await ready(world.federation, "east", "west")
    await world.federation.create(DEPLOYMENTS, deployment("web", replicas=2))
    await world.federation.create(CONFIG_MAPS, config_map("settings"))

    async def runs() -> bool:
        found = [await get(one, DEPLOYMENTS, "web") for one in (world.east, world.west)]
        settled = [await get(one, CONFIG_MAPS, "settings") for one in (world.east, world.west)]
        return all(found) and all(settled)

    await eventually("both have both", runs)
    assert await leave(world.federation, "west") == []

    async def moved() -> bool:
        east = await get(world.east, DEPLOYMENTS, "web")
        return east is not None and east["spec"]["replicas"] == 2 and not await named(world.federation, "west")

    await eventually("east has all of it, and no Placement knows west", moved)
    assert (await get(world.west, DEPLOYMENTS, "web") or {})["spec"]["replicas"] == 1
    assert await get(world.west, CONFIG_MAPS, "settings")

    async def is_clean() -> bool:
        return await get(world.west, NAMESPACES, "federation-system") is None

    await eventually("what joining made is gone", is_clean)
    await join_members(world.federation, {"west": world.planes[1].kubeconfig})
    await world.federation.create(CONFIG_MAPS, config_map("other"))

    async def back() -> bool:
        return bool(await get(world.west, CONFIG_MAPS, "other"))

    await eventually("west takes part again", back)
    assert await leave(world.federation, "west", delete_workloads=True) == []
    await asyncio.sleep(1.0)
    for resource, name in ((DEPLOYMENTS, "web"), (CONFIG_MAPS, "settings"), (CONFIG_MAPS, "other")):
        assert await get(world.west, resource, name) is None
    await eventually("east still has all of it", moved)


async def test_what_no_cluster_may_have_says_so_and_what_one_gets_does_too(world: World) -> None:
    api = PROPAGATION_POLICIES.api_version
    selector = {"apiVersion": "v1", "kind": "ConfigMap", "name": "lonely"}
    placement = {"clusterAffinity": {"clusterNames": ["nowhere"]}}
    spec: Object = {"resourceSelectors": [selector], "placement": placement}
    metadata = {"name": "nowhere", "namespace": "default"}
    policy = {"apiVersion": api, "kind": "PropagationPolicy", "metadata": metadata, "spec": spec}
    await world.federation.create(PROPAGATION_POLICIES, policy)
    await world.federation.create(CONFIG_MAPS, config_map("lonely"))

    async def reason() -> str:
        found = await world.federation.get(PLACEMENTS, "configmap-lonely", namespace="default")
        conditions = {one["type"]: one for one in found["status"]["conditions"]}
        return str(conditions["Scheduled"]["reason"])

    async def is_lonely() -> bool:
        return await reason() == "NoClusterFits"

    async def is_placed() -> bool:
        return await reason() == "Placed"

    await eventually("it has no place", is_lonely)
    await world.federation.delete(PROPAGATION_POLICIES, "nowhere", namespace="default")
    await eventually("it has one", is_placed)


async def test_a_dead_member_is_forgotten_within_ten_seconds(world: World) -> None:
    with control_plane() as plane:
        await join_members(world.federation, {"dead": plane.kubeconfig})

        async def placed() -> bool:
            return bool(await named(world.federation, "dead"))

        await world.federation.create(CONFIG_MAPS, config_map("more"))
        await eventually("it has something", placed)
    started = time.monotonic()
    assert await leave(world.federation, "dead", force=True)

    async def forgotten() -> bool:
        return not await named(world.federation, "dead")

    await eventually("no Placement names it", forgotten, seconds=max(0.1, 10.0 - (time.monotonic() - started)))

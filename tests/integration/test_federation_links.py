"""Objects arrive in members, stay as they were rendered, go again, and tell how they are; over real sockets."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.api.resources import CONFIG_MAPS, DEPLOYMENTS
from cluster.client.rest import ApiClient
from cluster.testing import ControlPlane, control_plane
from tests.integration.federation_members import (
    clients,
    controllers,
    deployment,
    entries,
    eventually,
    get,
    join_members,
    place,
)
from tests.integration.federation_processes import Endpoint, federation_apiserver


@pytest.fixture(scope="module")
def members() -> Iterator[tuple[ControlPlane, ControlPlane]]:
    with control_plane(hollow_nodes=1) as east, control_plane(hollow_nodes=1) as west:
        yield east, west


class World(NamedTuple):
    federation: ApiClient
    east: ApiClient
    west: ApiClient


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with federation_apiserver(tmp_path_factory.mktemp("federation")) as running, controllers(running):
        yield running


@pytest.fixture
async def world(endpoint: Endpoint, members: tuple[ControlPlane, ControlPlane]) -> AsyncIterator[World]:
    paths: dict[str, Path] = {"east": members[0].kubeconfig, "west": members[1].kubeconfig}
    async with clients(endpoint.kubeconfig, *paths.values()) as [federation, east, west]:
        await join_members(federation, paths)
        yield World(federation, east, west)


async def test_a_deployment_arrives_divided_and_its_status_comes_back(world: World) -> None:
    template = await world.federation.create(DEPLOYMENTS, deployment("web", replicas=3))
    await place(world.federation, template, [{"name": "east", "replicas": 2}, {"name": "west", "replicas": 1}])

    async def runs() -> bool:
        found = await entries(world.federation, template)
        return all(
            (found[name].get("status") or {}).get("readyReplicas") == n for name, n in (("east", 2), ("west", 1))
        )

    await eventually("the replicas run in both", runs)
    there = await world.east.get(DEPLOYMENTS, "web", namespace="default")
    assert there["spec"]["replicas"] == 2
    owners = {(entry["manager"], entry["operation"]) for entry in there["metadata"]["managedFields"]}
    assert ("federation", "Apply") in owners
    assert ("federation", "Update") not in owners
    assert (await get(world.west, CONFIG_MAPS, "web")) is None

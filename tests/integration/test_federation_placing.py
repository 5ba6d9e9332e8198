"""Templates are placed, and placed anew when policies, members or they themselves change."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cluster.api import resources
from cluster.client.rest import ApiClient
from federation.api.refs import Ref
from federation.api.resources import CLUSTER_PROPAGATION_POLICIES, CLUSTERS, PROPAGATION_POLICIES
from tests.integration.federation_processes import federation_apiserver
from tests.integration.placing import (
    Federation,
    config_map,
    config_map_ref,
    deployment,
    deployment_ref,
    namespace,
    only,
    parts,
    policy,
)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    with federation_apiserver(tmp_path / "federation") as running:
        yield running.kubeconfig


@pytest.fixture
async def federation(kubeconfig: Path) -> AsyncIterator[Federation]:
    async with ApiClient.from_kubeconfig(kubeconfig, connections=0) as client:
        made = Federation(client)
        yield made
        await made.stop()


async def test_an_object_goes_to_every_member_and_its_replicas_are_divided(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 5))
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    placed = await federation.placed(deployment_ref("web"))
    assert sum(parts(placed).values()) == 5
    assert set(parts(placed)) == {"east", "west"}
    template = placed["spec"]["template"]
    assert (template["name"], template["generation"]) == ("web", 1)
    assert parts(await federation.placed(config_map_ref("settings"))) == {"east": None, "west": None}
    await federation.join("north")
    await federation.placed(config_map_ref("settings"), lambda found: len(parts(found)) == 3)


async def test_a_change_costs_one_write_and_rest_costs_none(federation: Federation) -> None:
    for number in range(6):
        await federation.join(f"m{number}")
    await federation.start()
    await federation.create(resources.DEPLOYMENTS, deployment("web", 6))
    await federation.placed(deployment_ref("web"))
    await federation.quiet()
    before = await federation.version()
    await federation.client.patch(resources.DEPLOYMENTS, "web", {"spec": {"replicas": 12}}, namespace="default")
    await federation.placed(deployment_ref("web"), lambda found: sum(parts(found).values()) == 12)
    await federation.quiet()
    assert await federation.version() == before + 2
    await federation.stop()
    await federation.start()
    await federation.quiet()
    assert await federation.version() == before + 2


async def test_a_policy_that_comes_and_goes_moves_the_object(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    ref = config_map_ref("settings")
    await federation.placed(ref, lambda found: set(parts(found)) == {"east", "west"})
    await federation.create(PROPAGATION_POLICIES, policy("east", "ConfigMap", "v1", only("east")))
    placed = await federation.placed(ref, lambda found: set(parts(found)) == {"east"})
    assert parts(placed, "tombstones") == {"west": "NotSelected"}
    assert placed["spec"]["passedOver"] == [{"cluster": "west", "why": "not among the clusters the policy names"}]
    uid = placed["spec"]["template"]["uid"]
    await federation.report(ref, {"west": {"state": "Gone", "uid": uid}})
    await federation.placed(ref, lambda found: not parts(found, "tombstones"))
    await federation.client.delete(PROPAGATION_POLICIES, "east", namespace="default")
    await federation.placed(ref, lambda found: set(parts(found)) == {"east", "west"})


async def test_a_deleted_object_leaves_tombstones_until_members_say_that_it_is_gone(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    await federation.create(resources.CONFIG_MAPS, config_map("settings"))
    ref = config_map_ref("settings")
    uid = (await federation.placed(ref))["spec"]["template"]["uid"]
    await federation.client.delete(resources.CONFIG_MAPS, "settings", namespace="default")
    placed = await federation.placed(ref, lambda found: not parts(found))
    assert parts(placed, "tombstones") == {"east": "Deleted", "west": "Deleted"}
    await federation.report(ref, {"west": {"state": "Gone", "uid": uid}})
    await federation.placed(ref, lambda found: set(parts(found, "tombstones")) == {"east"})
    await federation.client.delete(CLUSTERS, "east")
    await federation.gone(ref)


async def test_a_namespace_goes_wherever_its_objects_go_and_ends_with_all_that_is_in_it(federation: Federation) -> None:
    await federation.join("east")
    await federation.join("west")
    await federation.start()
    restrict = policy("east", "Namespace", "v1", only("east")) | {"kind": "ClusterPropagationPolicy"}
    del restrict["metadata"]["namespace"]
    await federation.create(CLUSTER_PROPAGATION_POLICIES, restrict)
    await federation.create(resources.NAMESPACES, namespace("shop"))
    shop, ref = Ref("", "Namespace", "", "shop"), config_map_ref("settings", "shop")
    await federation.placed(shop, lambda found: set(parts(found)) == {"east"})
    await federation.create(resources.CONFIG_MAPS, config_map("settings", "shop"))
    placed = await federation.placed(shop, lambda found: set(parts(found)) == {"east", "west"})
    assert placed["spec"]["clusters"][1]["why"] == "objects in it are there"

    await federation.tell("west", phase="Unreachable")
    await federation.client.delete(resources.NAMESPACES, "shop")
    uid = (await federation.placed(ref, lambda found: not parts(found)))["spec"]["template"]["uid"]
    await federation.report(ref, {"east": {"state": "Gone", "uid": uid}})
    await federation.gone(ref)
    moved = await federation.outliving(ref)
    assert moved is not None
    assert parts(moved, "tombstones") == {"west": "Deleted"}
    placed = await federation.placed(shop, lambda found: not parts(found))
    assert parts(placed, "tombstones") == {"east": "Deleted", "west": "Deleted"}

    await federation.create(resources.NAMESPACES, namespace("shop"))
    await federation.create(resources.CONFIG_MAPS, config_map("settings", "shop"))
    placed = await federation.placed(ref)
    assert parts(placed, "tombstones") == {"west": "Deleted"}
    assert placed["spec"]["tombstones"][0]["uid"] == uid != placed["spec"]["template"]["uid"]
    assert await federation.outliving(ref) is None

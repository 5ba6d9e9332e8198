"""
Members that are not like ours, through the whole federation: old ones without server-side apply and newer groups, one
whose webhook changes what arrives, one whose clock is wrong; they get everything that they can hold.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.api.resources import CONFIG_MAPS, DEPLOYMENTS, SERVICES, Resource, named
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.api.resources import DNS_RECORD_SETS, PLACEMENTS, placement_name
from federation.placement.render import MANAGED
from tests.fakes.fake_member import FakeMember
from tests.fakes.member.peculiarities import Peculiarities, old_cluster
from tests.federations.world import World, world

BUDGETS = named("poddisruptionbudgets.policy")
SIDECAR = {"name": "mesh", "image": "mesh:1"}
FLAGS = ("--federation-name=world", "--dns-zone=world.example")


@pytest.fixture
async def federation(tmp_path: Path) -> AsyncIterator[World]:
    behaves = {
        "new": Peculiarities(load_balancer="192.0.2.1"),
        "old": old_cluster(),
        "odd": Peculiarities(sidecar=SIDECAR, clock_skew=86400.0, aggregated_discovery=False, watch_list=False),
    }
    behaves["old"].load_balancer = "192.0.2.2"
    async with world(tmp_path, behaves=behaves, flags=FLAGS) as found:
        await found.wait_phase(*found.members)
        yield found


def obj(kind: str, name: str, version: str = "v1", **content: Any) -> Object:
    metadata = {"name": name, "namespace": "default", **content.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def deployment(replicas: int = 6, image: str = "web:1") -> Object:
    labels = {"app": "web"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return obj("Deployment", "web", "apps/v1", spec=spec)


def service() -> Object:
    return obj("Service", "web", spec={"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 80}]})


def there(member: FakeMember, resource: Resource, name: str = "web") -> Object:
    found = member.get(resource, name, "default")
    assert found is not None, f"{member.name} has no {resource.kind} {name}"
    return found


async def eventually(what: str, holds: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = holds()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {seconds:g} s: {what}")


def everywhere(federation: World, resource: Resource, name: str, holds: Callable[[Object], bool]) -> bool:
    copies = [member.get(resource, name, "default") for member in federation.members.values()]
    return all(copy is not None and holds(copy) for copy in copies)


def is_managed(copy: Object) -> bool:
    return (copy["metadata"].get("labels") or {}).get(MANAGED) == "true"


def nowhere(federation: World, resource: Resource, name: str) -> bool:
    return all(member.get(resource, name, "default") is None for member in federation.members.values())


async def placed(api: ApiClient, group: str, kind: str, name: str) -> dict[str, str]:
    """States by member, as the Placement's status has them."""
    with contextlib.suppress(NotFound):
        found = await api.get(PLACEMENTS, placement_name(group, kind, name), namespace="default")
        return {one["name"]: one.get("state", "") for one in (found.get("status") or {}).get("clusters") or ()}
    return {}


async def test_everything_arrives_changes_and_goes_in_old_and_odd_members(federation: World) -> None:
    api = federation.api
    await api.create(DEPLOYMENTS, deployment())
    await api.create(CONFIG_MAPS, obj("ConfigMap", "web", data={"a": "1"}))
    await eventually("two replicas run everywhere", lambda: everywhere(
        federation, DEPLOYMENTS, "web", lambda copy: copy["status"].get("readyReplicas") == 2))  # fmt: skip

    async def ready() -> bool:
        return ((await api.get(DEPLOYMENTS, "web", namespace="default")).get("status") or {}).get("readyReplicas") == 6

    await eventually("the template knows six that are ready", ready)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web:2"}]}}}}
    await api.patch(DEPLOYMENTS, "web", change, namespace="default", patch_type="strategic")
    await eventually("the new image is everywhere", lambda: everywhere(
        federation, DEPLOYMENTS, "web",
        lambda copy: copy["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"))  # fmt: skip
    mesh = [
        one["name"] for one in there(federation.members["odd"], DEPLOYMENTS)["spec"]["template"]["spec"]["containers"]
    ]
    assert mesh == ["main", "mesh"]
    await api.patch(CONFIG_MAPS, "web", {"data": {"a": None, "b": "2"}}, namespace="default")
    await eventually("a key is gone and one has come", lambda: everywhere(
        federation, CONFIG_MAPS, "web", lambda copy: copy["data"] == {"b": "2"}))  # fmt: skip
    assert not federation.members["old"].writes["apply", "configmaps"]
    for resource in (DEPLOYMENTS, CONFIG_MAPS):
        await api.delete(resource, "web", namespace="default")
    await eventually("both are gone everywhere", lambda: nowhere(federation, DEPLOYMENTS, "web") and nowhere(
        federation, CONFIG_MAPS, "web"))  # fmt: skip


async def test_who_does_not_serve_a_kind_gets_none_and_the_others_do(federation: World) -> None:
    budget = obj("PodDisruptionBudget", "web", "policy/v1",
                 spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}})  # fmt: skip
    await federation.api.create(BUDGETS, budget)
    for name in ("new", "odd"):
        await eventually(f"the budget is in {name}",
                         lambda name=name: federation.members[name].get(BUDGETS, "web", "default") is not None)  # type: ignore[misc]  # fmt: skip
    assert federation.members["old"].get(BUDGETS, "web", "default") is None
    found = await federation.api.get(
        PLACEMENTS, placement_name("policy", "PodDisruptionBudget", "web"), namespace="default"
    )
    states = {one["name"]: one.get("state") for one in (found.get("status") or {}).get("clusters") or ()}
    assert states.get("old") != "Applied"
    assert "old" in str(found["spec"].get("passedOver")) or "old" in states


async def test_an_equal_object_is_adopted_and_another_is_left_alone(federation: World) -> None:
    for name, member in federation.members.items():
        member.put(CONFIG_MAPS, obj("ConfigMap", "equal", data={"a": "1"}))
        member.put(CONFIG_MAPS, obj("ConfigMap", "other", data={"a": f"of {name}"}))
    before = {name: there(member, CONFIG_MAPS, "other") for name, member in federation.members.items()}
    uids = {name: there(member, CONFIG_MAPS, "equal")["metadata"]["uid"] for name, member in federation.members.items()}
    for name in ("equal", "other"):
        await federation.api.create(CONFIG_MAPS, obj("ConfigMap", name, data={"a": "1"}))
    await eventually("the equal one is ours", lambda: everywhere(
        federation, CONFIG_MAPS, "equal", is_managed))  # fmt: skip

    async def conflict() -> bool:
        return await placed(federation.api, "", "ConfigMap", "other") == dict.fromkeys(federation.members, "Conflict")

    await eventually("the other is a conflict", conflict)
    for name, member in federation.members.items():
        assert there(member, CONFIG_MAPS, "equal")["metadata"]["uid"] == uids[name]
        assert there(member, CONFIG_MAPS, "other") == before[name]
    await federation.api.delete(CONFIG_MAPS, "other", namespace="default")
    await asyncio.sleep(1)
    assert {name: there(member, CONFIG_MAPS, "other") for name, member in federation.members.items()} == before


async def test_drift_is_undone_and_then_nobody_writes_any_more(federation: World) -> None:
    await federation.api.create(DEPLOYMENTS, deployment())
    await federation.api.create(SERVICES, service())
    await eventually("all of it is everywhere", lambda: everywhere(
        federation, DEPLOYMENTS, "web", lambda copy: copy["status"].get("readyReplicas") == 2)
        and everywhere(federation, SERVICES, "web", lambda copy: bool(copy["spec"].get("clusterIP"))))  # fmt: skip
    addresses = {name: there(member, SERVICES)["spec"]["clusterIP"] for name, member in federation.members.items()}
    for member in federation.members.values():
        drifted = there(member, DEPLOYMENTS)
        drifted["spec"]["template"]["spec"]["containers"][0]["image"] = "theirs:1"
        member.put(DEPLOYMENTS, drifted)
        theirs = there(member, SERVICES)
        theirs["metadata"]["annotations"]["cloud.example/id"] = "lb-7"
        member.put(SERVICES, theirs)
    await eventually("the image is ours again", lambda: everywhere(
        federation, DEPLOYMENTS, "web",
        lambda copy: copy["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"))  # fmt: skip
    await asyncio.sleep(2)
    before = {name: Counter(member.writes) for name, member in federation.members.items()}
    await asyncio.sleep(3)
    assert {name: Counter(member.writes) for name, member in federation.members.items()} == before
    for name, member in federation.members.items():
        kept = there(member, SERVICES)
        assert kept["spec"]["clusterIP"] == addresses[name]
        assert kept["metadata"]["annotations"]["cloud.example/id"] == "lb-7"


async def test_names_point_at_old_clusters_too(federation: World) -> None:
    """They have Endpoints, and no EndpointSlices."""
    await federation.api.create(DEPLOYMENTS, deployment())
    await federation.api.create(SERVICES, service())

    async def answered(*addresses: str) -> bool:
        with contextlib.suppress(ApiError):
            found = await federation.api.get(DNS_RECORD_SETS, "web", namespace="default")
            text = str(found["spec"])
            return all((one in text) is (one in addresses) for one in ("192.0.2.1", "192.0.2.2"))
        return not addresses

    await eventually("both addresses are published", lambda: answered("192.0.2.1", "192.0.2.2"))
    old = federation.members["old"]
    old.behaves.ready_share = 0.0
    old.put(DEPLOYMENTS, {**there(old, DEPLOYMENTS), "metadata": {**there(old, DEPLOYMENTS)["metadata"], "labels": {
        **there(old, DEPLOYMENTS)["metadata"]["labels"], "touched": "true"}}})  # fmt: skip
    await eventually("the old cluster without ready Pods is left out", lambda: answered("192.0.2.1"))


async def test_what_was_deleted_while_an_old_cluster_was_away_is_gone_when_it_is_back(federation: World) -> None:
    for name in ("gone", "kept"):
        await federation.api.create(CONFIG_MAPS, obj("ConfigMap", name, data={"a": "1"}))
        await eventually(f"{name} is everywhere",
                         lambda name=name: everywhere(federation, CONFIG_MAPS, name, lambda _: True))  # type: ignore[misc]  # fmt: skip
    old = federation.members["old"]
    await old.crash()
    await federation.api.delete(CONFIG_MAPS, "gone", namespace="default")
    await federation.api.patch(CONFIG_MAPS, "kept", {"data": {"a": "2"}}, namespace="default")
    await eventually("it is gone from another",
                     lambda: federation.members["new"].get(CONFIG_MAPS, "gone", "default") is None)  # fmt: skip
    await old.come_back()
    await eventually("it is gone from the old one", lambda: old.get(CONFIG_MAPS, "gone", "default") is None)
    await eventually("what was changed is there", lambda: there(old, CONFIG_MAPS, "kept")["data"] == {"a": "2"})

"""Every kind that a federation is asked for goes to real members, tells how it is, is put back there, and ends."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.api.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, Resource, by_kind
from cluster.client.kubeconfig import ClientConfig, load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.testing import control_plane
from tests.integration.federation_members import config_map, controllers, deployment, eventually, join_members
from tests.integration.federation_processes import Endpoint, federation_apiserver

SPACE = "shop"
POD = {"containers": [{"name": "c", "image": "registry.test/web:1"}]}
LABELS = {"app": "all"}
WORKLOAD = {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": POD}}
BACKEND = {"service": {"name": "service", "port": {"number": 80}}}
SCALED = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"}
KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("v1", "ConfigMap", {"data": {"a": "1"}}),
    ("v1", "Secret", {"stringData": {"a": "1"}}),
    ("v1", "ServiceAccount", {}),
    ("v1", "Service", {"spec": {"type": "NodePort", "selector": LABELS, "ports": [{"port": 80}]}}),
    ("v1", "ReplicationController", {"spec": {"replicas": 2, "selector": LABELS, "template": WORKLOAD["template"]}}),
    ("v1", "ResourceQuota", {"spec": {"hard": {"configmaps": "50"}}}),
    ("apps/v1", "Deployment", {"spec": {"replicas": 2, **WORKLOAD}}),
    ("apps/v1", "ReplicaSet", {"spec": {"replicas": 2, **WORKLOAD}}),
    ("apps/v1", "StatefulSet", {"spec": {"replicas": 2, "serviceName": "service", **WORKLOAD}}),
    ("apps/v1", "DaemonSet", {"spec": WORKLOAD}),
    ("batch/v1", "Job", {"spec": {"parallelism": 2, "completions": 2, "template": {"spec": {
        **POD, "restartPolicy": "Never"}}}}),
    ("batch/v1", "CronJob", {"spec": {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {
        **POD, "restartPolicy": "Never"}}}}}}),
    ("networking.k8s.io/v1", "Ingress", {"spec": {"defaultBackend": BACKEND}}),
    ("autoscaling/v2", "HorizontalPodAutoscaler", {"spec": {
        "minReplicas": 2, "maxReplicas": 4, "scaleTargetRef": SCALED}}),
    ("policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": 1, "selector": {"matchLabels": LABELS}}}),
)  # fmt: skip
STATUSES: dict[str, dict[str, Any]] = {
    "Deployment": {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2},
    "ReplicaSet": {"replicas": 2, "readyReplicas": 2},
    "ReplicationController": {"replicas": 2, "readyReplicas": 2},
    "StatefulSet": {"replicas": 2, "readyReplicas": 2},
    "DaemonSet": {"desiredNumberScheduled": 2, "numberReady": 2},
    "Job": {"active": 2},
}
"""What the template says in the end: a node a member, and hollow Pods that run for ever."""


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    endpoint: Endpoint
    kubeconfigs: dict[str, Path]


@dataclasses.dataclass(frozen=True, slots=True)
class Clients:
    federation: ApiClient
    members: dict[str, ApiClient]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        control_plane(hollow_nodes=1) as east,
        control_plane(hollow_nodes=1) as west,
        federation_apiserver(tmp_path_factory.mktemp("federation")) as endpoint,
        controllers(endpoint),
    ):
        members = {"east": east.kubeconfig, "west": west.kubeconfig}
        asyncio.run(_join(endpoint, members))
        yield World(endpoint, members)


async def _join(endpoint: Endpoint, members: dict[str, Path]) -> None:
    async with ApiClient.from_kubeconfig(endpoint.kubeconfig) as federation:
        await join_members(federation, members)


@pytest.fixture
async def clients(world: World) -> AsyncIterator[Clients]:
    async with contextlib.AsyncExitStack() as stack:

        async def client(kubeconfig: Path) -> ApiClient:
            return await stack.enter_async_context(ApiClient.from_kubeconfig(kubeconfig))

        members = {name: await client(path) for name, path in world.kubeconfigs.items()}
        yield Clients(await client(world.endpoint.kubeconfig), members)


def resource_of(api_version: str, kind: str) -> Resource:
    found = by_kind(api_version, kind)
    assert found is not None
    return found


async def names(client: ApiClient, resource: Resource, namespace: str) -> set[str]:
    return {one["metadata"]["name"] for one in (await client.list(resource, namespace=namespace))["items"]}


async def test_each_kind_goes_everywhere_comes_back_where_it_is_lost_and_ends_with_its_namespace(
    clients: Clients,
) -> None:
    federation, members = clients.federation, clients.members
    await federation.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    wanted: list[tuple[Resource, str]] = []
    for api_version, kind, body in KINDS:
        metadata = {"name": kind.lower(), "namespace": SPACE}
        await federation.create(
            resource_of(api_version, kind), {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}
        )
        wanted.append((resource_of(api_version, kind), kind.lower()))

    async def everywhere(member: ApiClient) -> bool:
        missing = [name for resource, name in wanted if name not in await names(member, resource, SPACE)]
        assert not missing, missing
        return True

    for name, member in members.items():
        await eventually(f"everything is in {name}", partial(everywhere, member))
    for resource, name in wanted:
        await eventually(f"the status of {name}", partial(_tells, federation, resource, name))

    uids = {name: (await members["east"].get(one, name, namespace=SPACE))["metadata"]["uid"] for one, name in wanted}
    for resource, name in wanted:
        options = {"propagationPolicy": "Background"}
        await members["east"].delete(resource, name, namespace=SPACE, options=options)

    async def returned(resource: Resource, name: str) -> bool:
        found = await members["east"].get(resource, name, namespace=SPACE)
        return bool(found["metadata"]["uid"] != uids[name])

    for resource, name in wanted:
        await eventually(f"{name} is back", partial(returned, resource, name))

    await federation.delete(NAMESPACES, SPACE)
    for name, client in {"the federation": federation, **members}.items():
        await eventually(f"the namespace is gone from {name}", partial(_absent, client, NAMESPACES, SPACE), 40)


async def _tells(federation: ApiClient, resource: Resource, name: str) -> bool:
    status = (await federation.get(resource, name, namespace=SPACE)).get("status") or {}
    expected = STATUSES.get(resource.kind, {})
    assert {field: status.get(field) for field in expected} == expected, status
    if resource.kind == "PodDisruptionBudget":
        assert status.get("expectedPods", 0) >= 2, status
    return True


async def _absent(client: ApiClient, resource: Resource, name: str, namespace: str = "") -> bool:
    try:
        await client.get(resource, name, namespace=namespace)
    except NotFound:
        return True
    return False


@pytest.mark.parametrize("orphan", [False, True, None])
async def test_dependents_in_members_go_or_stay_as_who_deletes_says(clients: Clients, orphan: bool | None) -> None:
    name = f"orphan-{orphan}".lower()
    await clients.federation.create(DEPLOYMENTS, deployment(name))
    for one, member in clients.members.items():
        await eventually(f"it is in {one}", partial(member.get, DEPLOYMENTS, name, namespace="default"))
    options = {} if orphan is None else {"orphanDependents": orphan}
    await clients.federation.delete(DEPLOYMENTS, name, namespace="default", options=options)
    await eventually("the template is gone", partial(_absent, clients.federation, DEPLOYMENTS, name, "default"))
    for one, member in clients.members.items():
        if not orphan:
            await eventually(f"it is gone from {one}", partial(_absent, member, DEPLOYMENTS, name, "default"))
            continue

        async def let_go(member: ApiClient = member) -> bool:
            found: Object = await member.get(DEPLOYMENTS, name, namespace="default")
            return "federation.hanse.io/managed" not in (found["metadata"].get("labels") or {})

        await eventually(f"it stays in {one} and is nobody's", let_go)


async def test_who_takes_our_label_from_a_copy_or_deletes_it_with_options_changes_nothing(clients: Clients) -> None:
    await clients.federation.create(CONFIG_MAPS, config_map("marked"))
    east = clients.members["east"]

    async def is_marked() -> bool:
        found = await east.get(CONFIG_MAPS, "marked", namespace="default")
        return (found["metadata"].get("labels") or {}).get("federation.hanse.io/managed") == "true"

    await eventually("it is there", is_marked)
    bare = {"metadata": {"labels": {"federation.hanse.io/managed": None}}}
    await east.patch(CONFIG_MAPS, "marked", bare, namespace="default", patch_type="merge")
    await eventually("it is ours again", is_marked)
    await east.delete(CONFIG_MAPS, "marked", namespace="default", options={"gracePeriodSeconds": 0})
    await eventually("it is there again", is_marked)


async def test_who_has_no_login_or_a_wrong_one_is_refused(world: World) -> None:
    known = load_kubeconfig(world.endpoint.kubeconfig)

    async def code(config: ClientConfig) -> int:
        async with ApiClient(config) as client:
            try:
                await client.list(CONFIG_MAPS, namespace="default")
            except ApiError as refused:
                return refused.http_code
            return 200

    assert await code(known) == 200
    assert await code(dataclasses.replace(known, token="wrong")) == 401
    assert await code(dataclasses.replace(known, token="")) in (401, 403)
    assert await code(dataclasses.replace(known, token="", username="admin", password="wrong")) == 401

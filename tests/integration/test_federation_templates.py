"""Templates are known as soon as they are stored, custom ones from the moment that their definition is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from federation.api.refs import Ref
from federation.controllers.templates import Change, Templates
from tests.integration.federation_processes import Endpoint, federation_apiserver
from tests.integration.placing import TLS_FAREWELL

DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
WIDGETS = Resource("example.com", "v1", "widgets", "Widget", True)
WIDGET = Ref("example.com", "Widget", "default", "one")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with federation_apiserver(tmp_path_factory.mktemp("federation")) as running:
        yield running


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[ApiClient]:
    async with ApiClient.from_kubeconfig(endpoint.kubeconfig, connections=0) as made:
        yield made
    await asyncio.sleep(TLS_FAREWELL)


@pytest.fixture
async def templates(client: ApiClient) -> AsyncIterator[Templates]:
    made = Templates(client)
    task = asyncio.create_task(made.run())
    await asyncio.wait_for(made.wait_synced(), 20)
    yield made
    task.cancel()
    await asyncio.wait({task})


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - the other side is a server, it sets no event of ours
            await asyncio.sleep(0.02)


def definition(*versions: str) -> Object:
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served = [{"name": one, "served": True, "storage": one == versions[0], "schema": schema} for one in versions]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": served},
    }


def settings(name: str, **metadata: object) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", **metadata}}


async def test_nothing_of_what_a_fresh_server_stores_is_a_template(templates: Templates) -> None:
    assert list(templates.list()) == []
    assert templates.knows("apps", "Deployment")
    assert not templates.knows("", "Pod")
    assert not templates.knows("federation.hanse.io", "Placement")


async def test_a_listener_hears_of_user_changes_but_not_of_statuses(templates: Templates, client: ApiClient) -> None:
    heard: list[tuple[Ref, Change]] = []
    await client.create(resources.CONFIG_MAPS, settings("before"))
    ref = Ref("", "ConfigMap", "default", "before")
    await until(lambda: templates.get(ref) is not None)
    templates.listen(lambda ref, change: heard.append((ref, change)))
    assert heard == [(ref, Change.LISTED)]

    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"minAvailable": 1},
    }
    budgets = templates.resource_of(Ref("policy", "PodDisruptionBudget", "default", "b"))
    assert budgets is not None
    await client.create(budgets, budget)
    spoken = {"status": {"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1}}
    await client.patch(budgets, "b", spoken, namespace="default", subresource="status")
    await client.delete(budgets, "b", namespace="default")
    labels = {"metadata": {"labels": {"federation.hanse.io/local": "true"}}}
    await client.patch(resources.CONFIG_MAPS, "before", labels, namespace="default")
    await until(lambda: len(heard) == 4)
    named = Ref("policy", "PodDisruptionBudget", "default", "b")
    assert sorted(heard[1:3], key=str) == [(named, Change.CHANGED), (named, Change.DELETED)]
    assert heard[3] == (ref, Change.CHANGED)
    assert templates.get(ref) is None
    assert templates.resource_of(ref) == templates.resource_of(Ref("", "ConfigMap", "x", "y"))


async def test_custom_resources_come_and_go_with_their_definition_and_its_versions(
    templates: Templates, client: ApiClient
) -> None:
    heard: list[tuple[Ref, Change]] = []
    templates.listen(lambda ref, change: heard.append((ref, change)))
    await client.create(DEFINITIONS, definition("v1alpha1"))
    await until(lambda: templates.knows("example.com", "Widget"))
    assert [one["metadata"]["name"] for one in templates.list_kind("apiextensions.k8s.io", "CustomResourceDefinition")]
    old = Resource("example.com", "v1alpha1", "widgets", "Widget", True)
    body = {"apiVersion": "example.com/v1alpha1", "kind": "Widget", "metadata": {"name": "one", "namespace": "default"}}
    await client.create(old, body)
    await until(lambda: (WIDGET, Change.CHANGED) in heard)

    changed = await client.get(DEFINITIONS, "widgets.example.com")
    changed["spec"]["versions"] = definition("v1alpha1", "v1")["spec"]["versions"]
    await client.update(DEFINITIONS, changed)
    await until(lambda: (found := templates.get(WIDGET)) is not None and found["apiVersion"] == "example.com/v1")
    found = templates.resource_of(WIDGET)
    assert found is not None
    assert found.version == "v1"

    await client.delete(DEFINITIONS, "widgets.example.com")
    await until(lambda: not templates.knows("example.com", "Widget"))
    assert templates.get(WIDGET) is None
    assert [change for ref, change in heard if ref == WIDGET][-1] in (Change.DELETED, Change.MISSING)


async def test_who_set_a_port_of_a_service_is_kept_and_of_other_kinds_it_is_not(
    templates: Templates, client: ApiClient
) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    }
    await client.create(resources.SERVICES, service)
    await client.create(resources.CONFIG_MAPS, settings("plain"))
    kept, dropped = Ref("", "Service", "default", "web"), Ref("", "ConfigMap", "default", "plain")
    await until(lambda: templates.get(kept) is not None and templates.get(dropped) is not None)
    assert (templates.get(kept) or {})["metadata"]["managedFields"]
    assert "managedFields" not in (templates.get(dropped) or {})["metadata"]
    await client.patch(resources.SERVICES, "web", {"metadata": {"labels": {"a": "b"}}}, namespace="default")
    await until(lambda: "labels" in (templates.get(kept) or {})["metadata"])
    assert (templates.get(kept) or {})["metadata"]["managedFields"]

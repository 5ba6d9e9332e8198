"""kr8s: objects that know their cluster: create, patch, scale, label, watch and wait."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import kr8s
import pytest
from kr8s.asyncio import objects

from tests.integration.control_plane_processes import ControlPlane

# It warns of servers newer than those it was tested with.
pytestmark = pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning")


@pytest.fixture
async def api(plane: ControlPlane) -> AsyncIterator[Any]:
    made = await kr8s.asyncio.api(kubeconfig=str(plane.kubeconfig))
    yield made
    await made._session.aclose()  # it has no other way to let go of its connections


def deployment(namespace: str) -> dict[str, Any]:
    pod = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "d"}}, "template": pod},
    }  # fmt: skip


async def test_a_deployment_is_made_scaled_labelled_and_has_its_pods(api: Any, namespace: str) -> None:
    made = await objects.Deployment(deployment(namespace), api=api)
    await made.create()
    await made.scale(2)
    await made.label({"tier": "front"})
    await made.annotate({"note": "hello"})

    async def pods() -> list[Any]:
        return [pod async for pod in api.get("pods", namespace=namespace, label_selector={"app": "d"})]

    async with asyncio.timeout(20):
        while len(await pods()) != 2:  # noqa: ASYNC110  the controller is another process
            await asyncio.sleep(0.1)
    await made.refresh()
    assert (made.replicas, made.labels["tier"], made.annotations["note"]) == (2, "front", "hello")
    await made.delete(propagation_policy="Foreground")
    async with asyncio.timeout(20):
        while await made.exists():
            for pod in await pods():  # no kubelet is here to end them
                with contextlib.suppress(kr8s.NotFoundError):
                    await pod.delete(grace_period=0)
            await asyncio.sleep(0.1)
    assert await pods() == []


async def test_a_watch_and_a_wait_end_when_the_change_comes(api: Any, namespace: str) -> None:
    made = await objects.ConfigMap({"metadata": {"name": "c", "namespace": namespace}, "data": {"a": "1"}}, api=api)
    await made.create()
    seen = []
    async for kind, item in api.watch("configmaps", namespace=namespace):
        if item.name != "c":
            continue
        seen.append((kind, item.data["a"]))
        if kind == "ADDED":
            await made.patch({"data": {"a": "2"}})
        elif kind == "MODIFIED":
            await made.delete()
        else:
            break

    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]
    with pytest.raises(kr8s.NotFoundError):
        await made.refresh()


async def test_it_knows_the_server_and_who_it_is(api: Any, namespace: str) -> None:
    assert (await api.version())["gitVersion"].startswith("v1.36.")
    assert "admin" in await api.whoami()
    kinds = {(kind["kind"], kind["version"]) async for kind in _each(await api.api_resources())}
    assert {("Deployment", "apps/v1"), ("CustomResourceDefinition", "apiextensions.k8s.io/v1")} <= kinds


async def _each(items: list[Any]) -> Any:
    for item in items:
        yield item

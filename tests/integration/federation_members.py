"""A federation with its controllers and members, all as processes, and what tests say to them."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.api.resources import Resource
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.api.refs import placement_key, placement_resource, ref_of
from federation.membership.join import join
from tests.integration.control_plane_processes import process
from tests.integration.federation_processes import Endpoint

PATIENCE = 20.0  # seconds


@contextlib.contextmanager
def controllers(endpoint: Endpoint, *flags: str) -> Iterator[Any]:
    """The federation's controller manager, for the length of the block."""
    with process(
        endpoint.home / "controllers.log", sys.executable, "-m", "federation.controller_manager",
        f"--kubeconfig={endpoint.kubeconfig}", "--leader-elect=false", *flags,
    ) as running:  # fmt: skip
        yield running


async def join_members(federation: ApiClient, kubeconfigs: dict[str, Path]) -> None:
    for name, kubeconfig in kubeconfigs.items():
        await join(federation, name, load_kubeconfig(kubeconfig))


def config_map(name: str, namespace: str = "default", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data or {"a": "1"},
    }


def deployment(name: str, namespace: str = "default", replicas: int = 2, image: str = "registry.test/web:1") -> Object:
    labels = {"app": name}
    container = {"name": "web", "image": image, "resources": {"requests": {"cpu": "1000m"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def placement_for(template: Object, clusters: list[Object], **spec: Any) -> Object:
    """As the placer would write it; `clusters` are entries of spec.clusters."""
    ref, metadata = ref_of(template), template["metadata"]
    key = placement_key(ref)
    about = {"apiVersion": template["apiVersion"], "kind": ref.kind, "name": ref.name, "uid": metadata["uid"]}
    if ref.namespace:
        about["namespace"] = ref.namespace
    if "generation" in metadata:
        about["generation"] = metadata["generation"]
    kind = placement_resource(ref)
    named: Object = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": named,
        "spec": {"template": about, "clusters": clusters, **spec},
    }


async def place(federation: ApiClient, template: Object, clusters: list[Object], **spec: Any) -> Object:
    """Write the Placement of a template that is there, or write it anew."""
    wanted = placement_for(template, clusters, **spec)
    resource = placement_resource(ref_of(template))
    metadata = wanted["metadata"]
    namespace = metadata.get("namespace") or ""
    try:
        return await federation.create(resource, wanted, namespace=namespace)
    except ApiError as error:
        if error.http_code != 409:
            raise
    while True:
        there = await federation.get(resource, metadata["name"], namespace=namespace)
        try:
            return await federation.update(resource, {**there, "spec": wanted["spec"]})
        except ApiError as error:
            if error.http_code != 409:
                raise


async def get(client: ApiClient, resource: Resource, name: str, namespace: str = "default") -> Object | None:
    try:
        return await client.get(resource, name, namespace=namespace if resource.namespaced else "")
    except NotFound:
        return None


async def eventually(what: str, look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `look` answers, once it is something; it may raise AssertionError, KeyError and NotFound until then."""
    deadline = time.monotonic() + seconds
    while True:
        why = ""
        try:
            if found := await look():
                return found
        except (AssertionError, KeyError, NotFound) as not_yet:
            why = str(not_yet)[:2000]
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}. {why}")
        await asyncio.sleep(0.05)


async def entries(federation: ApiClient, template: Object) -> dict[str, Object]:
    """Placement.status.clusters[] by cluster."""
    ref = ref_of(template)
    key: Key = placement_key(ref)
    found = await federation.get(placement_resource(ref), key.name, namespace=key.namespace)
    return {one["name"]: one for one in (found.get("status") or {}).get("clusters") or ()}


@contextlib.asynccontextmanager
async def clients(*kubeconfigs: Path) -> AsyncIterator[list[ApiClient]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(ApiClient.from_kubeconfig(one)) for one in kubeconfigs]

"""A placer beside a federation's apiserver, and members of which there is nothing but their Cluster object."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.emptying import EmptyNamespaces
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound
from federation.api.refs import Ref, outliving_key, placement_key, placement_resource
from federation.api.resources import (
    CLUSTER_OVERRIDE_POLICIES,
    CLUSTER_PLACEMENTS,
    CLUSTER_PROPAGATION_POLICIES,
    CLUSTER_REMEDIES,
    CLUSTERS,
    KIND_RULES,
    OVERRIDE_POLICIES,
    PLACEMENTS,
    PROPAGATION_POLICIES,
    SCALING_SCHEDULES,
)
from federation.controllers.aggregate_status import AggregateStatus
from federation.controllers.end_namespaces import EndNamespaces
from federation.controllers.expire_jobs import ExpireJobs
from federation.controllers.keep_kind_rules import KeepKindRules
from federation.controllers.keep_remedies import KeepRemedies
from federation.controllers.place import Placer, PlacerSources
from federation.controllers.placing.kind_rule_book import KindRuleBook
from federation.controllers.placing.policy_book import PolicyInformers
from federation.controllers.scale_on_schedule import ScaleOnSchedule
from federation.controllers.templates import Templates
from tests.integration.federation_processes import Endpoint, federation_apiserver

SECONDS = 20
TLS_FAREWELL = 0.25
"""Seconds in which dozens of connections say good-bye before their loop ends."""
APIS = [
    {"groupVersion": "v1", "kinds": ["ConfigMap", "Namespace", "ResourceQuota", "Secret", "Service", "ServiceAccount"]},
    {"groupVersion": "apps/v1", "kinds": ["DaemonSet", "Deployment", "StatefulSet"]},
    {"groupVersion": "batch/v1", "kinds": ["Job"]},
    {"groupVersion": "apiextensions.k8s.io/v1", "kinds": ["CustomResourceDefinition"]},
    {"groupVersion": "autoscaling/v2", "kinds": ["HorizontalPodAutoscaler"]},
    {"groupVersion": "rbac.authorization.k8s.io/v1", "kinds": ["ClusterRole"]},
    {"groupVersion": "scheduling.k8s.io/v1", "kinds": ["PriorityClass"]},
]


def cluster(name: str, **labels: str) -> Object:
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:1"}
    return {
        "apiVersion": "federation/v1beta1",
        "kind": "Cluster",
        "metadata": {"name": name, "labels": labels},
        "spec": {"serverAddressByClientCIDRs": [address]},
    }


def deployment(name: str, replicas: int = 3, namespace: str = "default", **pod: Any) -> Object:
    labels = {"app": name}
    spec = {"containers": [{"name": "c", "image": "img"}], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def config_map(name: str, namespace: str = "default", **metadata: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, **metadata}}


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def policy(name: str, kind: str, api_version: str, placement: Object, **spec: Any) -> Object:
    selector = {"apiVersion": api_version, "kind": kind, **spec.pop("select", {})}
    return {
        "apiVersion": "federation.hanse.io/v1beta1",
        "kind": "PropagationPolicy",
        "metadata": {"name": name, "namespace": spec.pop("namespace", "default")},
        "spec": {"resourceSelectors": [selector], "placement": placement, **spec},
    }


def only(*names: str) -> Object:
    return {"clusterAffinity": {"clusterNames": list(names)}}


def deployment_ref(name: str, namespace: str = "default") -> Ref:
    return Ref("apps", "Deployment", namespace, name)


def config_map_ref(name: str, namespace: str = "default") -> Ref:
    return Ref("", "ConfigMap", namespace, name)


def parts(placement: Object, part: str = "clusters") -> dict[str, Any]:
    """Cluster -> replicas, or of tombstones the reason."""
    found = placement["spec"].get(part) or ()
    if part == "tombstones":
        return {one["cluster"]: one["why"] for one in found}
    return {one["name"]: one.get("replicas") for one in found}


@dataclass
class Federation:
    """What a test does to it and sees of it."""

    client: ApiClient
    isolated: bool = False
    placer: Placer | None = None
    templates: Templates | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, **options: Any) -> None:
        """The placer, as after a start of its process."""
        made = {
            name: Informer(self.client, resource)
            for name, resource in {
                "placements": PLACEMENTS,
                "cluster_placements": CLUSTER_PLACEMENTS,
                "clusters": CLUSTERS,
                "propagation": PROPAGATION_POLICIES,
                "cluster_propagation": CLUSTER_PROPAGATION_POLICIES,
                "overrides": OVERRIDE_POLICIES,
                "cluster_overrides": CLUSTER_OVERRIDE_POLICIES,
                "rules": KIND_RULES,
            }.items()
        }
        policies = PolicyInformers(*[made[name] for name in list(made)[3:7]])
        rules = KindRuleBook(made["rules"])
        self.templates = Templates(self.client)
        sources = PlacerSources(
            self.templates, made["placements"], made["cluster_placements"], made["clusters"], policies, rules
        )
        self.placer = Placer(self.client, sources, isolated=lambda: self.isolated, **options)
        namespaces = Informer(self.client, resources.NAMESPACES)
        schedules = Informer(self.client, SCALING_SCHEDULES)
        ending = EndNamespaces(self.client, namespaces)
        statuses = AggregateStatus(self.client, self.templates, made["placements"], made["cluster_placements"], rules)
        expiring = ExpireJobs(self.client, self.templates, statuses.template)
        statuses.listen(expiring.changed)
        runs = [
            self.templates.run(),
            namespaces.run(),
            ending.run(),
            *(one.run() for one in made.values()),
            self.placer.run(),
            schedules.run(),
            ScaleOnSchedule(self.client, self.templates, schedules).run(),
            statuses.run(),
            expiring.run(),
            KeepKindRules(self.client, made["rules"], rules).run(),
            KeepRemedies(self.client, made["clusters"], isolated=lambda: self.isolated).run(),
        ]
        self._tasks = [asyncio.create_task(one) for one in runs]

    async def stop(self) -> None:
        """As if it was killed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def join(self, name: str, phase: str = "Ready", apis: list[Object] | None = None, **labels: str) -> None:
        await self.client.create(CLUSTERS, cluster(name, **labels))
        await self.tell(name, phase=phase, apis=APIS if apis is None else apis)

    async def tell(self, name: str, **status: Any) -> None:
        await self.client.patch(CLUSTERS, name, {"status": status}, subresource="status")

    async def lose(self, name: str, since: str) -> None:
        offline = {"type": "Offline", "status": "True", "lastTransitionTime": since}
        await self.tell(name, phase="Unreachable", conditions=[offline])

    async def placement(self, ref: Ref) -> Object | None:
        key = placement_key(ref)
        try:
            return await self.client.get(placement_resource(ref), key.name, namespace=key.namespace)
        except NotFound:
            return None

    async def outliving(self, ref: Ref) -> Object | None:
        try:
            return await self.client.get(CLUSTER_PLACEMENTS, outliving_key(ref).name)
        except NotFound:
            return None

    async def placed(self, ref: Ref, right: Callable[[Object], bool] = lambda _: True) -> Object:
        """The Placement, once it is as it should be."""
        found: Object | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while found is None or not right(found):
                    await asyncio.sleep(0.02)
                    found = await self.placement(ref)
                return found
        raise AssertionError(f"{ref} is not placed as it should be: {found and found.get('spec')}")

    async def gone(self, ref: Ref) -> None:
        async with asyncio.timeout(SECONDS):
            while await self.placement(ref) is not None:  # noqa: ASYNC110 - only the server knows
                await asyncio.sleep(0.02)

    async def report(self, ref: Ref, entries: Mapping[str, Object]) -> None:
        """As links do."""
        found = await self.placement(ref)
        assert found is not None
        clusters = {one["name"]: one for one in (found.get("status") or {}).get("clusters") or ()}
        for name, entry in entries.items():
            clusters[name] = {"name": name, **entry}
        key = placement_key(ref)
        await self.client.patch(
            placement_resource(ref),
            key.name,
            {"status": {"clusters": list(clusters.values())}},
            namespace=key.namespace,
            subresource="status",
        )

    async def version(self) -> int:
        """Of the store."""
        return int((await self.client.list(CLUSTERS, limit=1))["metadata"]["resourceVersion"])

    async def quiet(self, seconds: float = SECONDS) -> None:
        """Until the placer has nothing to do."""
        placer = self.placer
        assert placer is not None
        async with asyncio.timeout(seconds):
            while not placer.idle:  # noqa: ASYNC110 - a look from outside
                await asyncio.sleep(0.05)

    async def create(self, resource: Resource, *objects: Object) -> None:
        for obj in objects:
            await self.client.create(resource, obj)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with federation_apiserver(tmp_path_factory.mktemp("federation")) as running:
        yield running


@pytest.fixture
async def federation(endpoint: Endpoint) -> AsyncIterator[Federation]:
    """Empty at the start of every test."""
    async with ApiClient.from_kubeconfig(endpoint.kubeconfig, connections=0) as client:
        made = Federation(client)
        yield made
        await made.stop()
        await _clear(client)
    await asyncio.sleep(TLS_FAREWELL)


async def _clear(client: ApiClient) -> None:
    emptying = EmptyNamespaces(client, lambda _: 0)
    await emptying.empty("default")
    for resource in (CLUSTERS, CLUSTER_PROPAGATION_POLICIES, CLUSTER_PLACEMENTS, CLUSTER_REMEDIES, KIND_RULES):
        await client.delete_collection(resource)
    for one in (await client.list(resources.NAMESPACES))["items"]:
        name = one["metadata"]["name"]
        if name == "default" or name.startswith(("kube-", "federation-")):
            continue
        await emptying.empty(name)
        await client.delete(resources.NAMESPACES, name)
        await emptying.let_go(await client.get(resources.NAMESPACES, name))

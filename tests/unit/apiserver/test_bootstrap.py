"""The objects of the first moment: made once, completed later, safe with three servers at once."""

import asyncio
from typing import Any

import pytest

from cluster.api import resources
from cluster.apiserver.authorization import build_authorizer
from cluster.apiserver.bootstrap import BootstrapSettings, ensure_bootstrap_objects
from cluster.apiserver.rbac import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from cluster.apiserver.requests import Attributes, UserInfo
from cluster.machinery.objects import Object, copy_object
from tests.fakes.object_store import FakeObjects

SETTINGS = BootstrapSettings(service_cidrs=("10.96.0.0/16",), client_ca="PEM")


async def booted() -> FakeObjects:
    objects = FakeObjects()
    await ensure_bootstrap_objects(objects, objects, SETTINGS)
    return objects


async def test_an_empty_store_gets_everything() -> None:
    objects = await booted()

    def names(qualified: str) -> set[str]:
        return {o["metadata"]["name"] for o in objects.list(resources.named(qualified))}

    assert names("namespaces") == {"default", "kube-system", "kube-public", "kube-node-lease"}
    assert names("priorityclasses.scheduling.k8s.io") == {"system-cluster-critical", "system-node-critical"}
    assert {"cluster-admin", "view", "system:node", "system:cluster-dns"} <= names(CLUSTER_ROLES.qualified)
    assert {"exempt", "catch-all"} <= names("flowschemas.flowcontrol.apiserver.k8s.io")
    assert {"v1.", "v1.apps", "v2.autoscaling"} <= names("apiservices.apiregistration.k8s.io")
    assert names("servicecidrs.networking.k8s.io") == {"kubernetes"}
    [published] = objects.list(resources.CONFIG_MAPS)
    assert published["data"] == {"client-ca-file": "PEM"}


async def test_own_groups_are_said_to_be_available() -> None:
    objects = await booted()

    for service in objects.list(resources.named("apiservices.apiregistration.k8s.io")):
        assert [(c["type"], c["status"]) for c in service["status"]["conditions"]] == [("Available", "True")]


async def test_the_second_start_writes_nothing() -> None:
    objects = await booted()
    objects.writes.clear()

    await ensure_bootstrap_objects(objects, objects, SETTINGS)

    assert objects.writes == []


class Late(FakeObjects):
    """A store whose cache shows nothing yet: every server believes that it is the first."""

    def get(self, resource: resources.Resource, namespace: str, name: str) -> Object | None:
        return None

    async def get_current(self, resource: resources.Resource, namespace: str, name: str) -> Object | None:
        await asyncio.sleep(0)
        return FakeObjects.get(self, resource, namespace, name)


async def test_three_servers_at_once_make_each_object_once() -> None:
    objects = Late()

    await asyncio.gather(*(ensure_bootstrap_objects(objects, objects, SETTINGS) for _ in range(3)))

    made = [what for operation, what in objects.writes if operation == "create"]
    assert len(made) == len(set(made))
    assert FakeObjects.get(objects, CLUSTER_ROLES, "", "cluster-admin") is not None


def changed(objects: FakeObjects, name: str, **change: Any) -> None:
    role = copy_object(objects.get(CLUSTER_ROLES, "", name) or {})
    role["metadata"]["annotations"].update(change.pop("annotations", {}))
    objects.put({**role, **change})


async def test_a_default_role_gets_back_the_rules_it_lost_and_keeps_those_it_won() -> None:
    objects = await booted()
    extra = {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}
    changed(objects, "system:kube-dns", rules=[extra])

    await ensure_bootstrap_objects(objects, objects, SETTINGS)

    role = objects.get(CLUSTER_ROLES, "", "system:kube-dns")
    assert role is not None
    assert role["rules"] == [
        extra, {"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["endpoints", "services"]},
    ]  # fmt: skip


async def test_a_role_that_opted_out_is_left_alone() -> None:
    objects = await booted()
    changed(objects, "system:kube-dns", rules=[], annotations={"rbac.authorization.kubernetes.io/autoupdate": "false"})

    await ensure_bootstrap_objects(objects, objects, SETTINGS)

    assert (objects.get(CLUSTER_ROLES, "", "system:kube-dns") or {})["rules"] == []


async def test_a_binding_gets_back_its_subjects() -> None:
    objects = await booted()
    binding = copy_object(objects.get(CLUSTER_ROLE_BINDINGS, "", "cluster-admin") or {})
    objects.put({**binding, "subjects": [{"kind": "User", "name": "me"}]})

    await ensure_bootstrap_objects(objects, objects, SETTINGS)

    found = objects.get(CLUSTER_ROLE_BINDINGS, "", "cluster-admin") or {}
    assert [s["name"] for s in found["subjects"]] == ["me", "system:masters"]


@pytest.mark.parametrize(
    ("user", "asked", "allowed"),
    [
        ("system:cluster-dns", ("watch", "discovery.k8s.io", "endpointslices"), True),
        ("system:cluster-dns", ("list", "", "services"), True),
        ("system:cluster-dns", ("list", "", "secrets"), False),
        ("kube-apiserver-kubelet-client", ("create", "", "nodes/proxy"), True),
        ("system:kube-scheduler", ("create", "", "pods/binding"), True),
        ("system:kube-scheduler", ("create", "authentication.k8s.io", "tokenreviews"), True),
        ("system:kube-controller-manager", ("list", "apps", "deployments"), True),
        ("system:kube-controller-manager", ("update", "apps", "deployments"), False),
        ("system:serviceaccount:kube-system:deployment-controller", ("update", "apps", "deployments"), True),
        ("system:kube-proxy", ("watch", "discovery.k8s.io", "endpointslices"), True),
        ("anybody", ("list", "", "pods"), False),
    ],
)
async def test_the_default_roles_let_components_work(user: str, asked: tuple[str, str, str], allowed: bool) -> None:
    chain = build_authorizer(["Node", "RBAC"], await booted())
    verb, group, resource = asked
    plural, _, subresource = resource.partition("/")

    decision = await chain.authorize(Attributes(UserInfo(user), verb, group, "v1", plural, subresource))

    assert decision.allowed is allowed

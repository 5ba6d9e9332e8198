"""The admission chain: what it fills in and what it refuses, in upstream's words."""

from typing import Any

import pytest

from cluster.api import resources
from cluster.apiserver.admission import service_account
from cluster.apiserver.admission.chain import AdmissionChain, build_admission
from cluster.apiserver.authorization import build_authorizer
from cluster.apiserver.requests import AdmissionRequest, UserInfo
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import ApiError, Forbidden, NotFound
from tests.fakes.object_store import FakeObjects

ADMIN = UserInfo("admin", ("system:masters",))
KUBELET = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))


def named(kind: str, name: str, namespace: str = "", api_version: str = "v1", **rest: Any) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **rest.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def world(*more: Object) -> FakeObjects:
    return FakeObjects(
        named("Namespace", "ns", status={"phase": "Active"}),
        named("Namespace", "going", status={"phase": "Terminating"}),
        named("ServiceAccount", "default", "ns", imagePullSecrets=[{"name": "pull"}]),
        named("Node", "n1", metadata={"labels": {"topology.kubernetes.io/zone": "z1"}}),
        *more,
    )


def chain(objects: FakeObjects, *enabled: str) -> AdmissionChain:
    return build_admission(enabled, (), objects, objects, authorizer=build_authorizer(["Node", "RBAC"], objects))


def pod(**spec: Any) -> Object:
    return named("Pod", "x1", "ns", spec={"containers": [{"name": "c", "image": "i"}], **spec})


def request(
    obj: Object | None,
    operation: str = "CREATE",
    *,
    resource: str = "pods",
    old: Object | None = None,
    user: UserInfo = ADMIN,
    subresource: str = "",
    name: str | None = None,
) -> AdmissionRequest:
    some = (obj or old or {}).get("metadata", {})
    where = some.get("namespace", "")
    known = some.get("name", "") if name is None else name
    return AdmissionRequest(
        operation, resources.named(resource), subresource, where, known, copy_object(obj) if obj else None, old, user
    )


async def admit(objects: FakeObjects, asked: AdmissionRequest, *enabled: str) -> AdmissionRequest:
    admission = chain(objects, *enabled)
    await admission.mutate(asked)
    await admission.validate(asked)
    return asked


async def refused(objects: FakeObjects, asked: AdmissionRequest, *enabled: str) -> str:
    with pytest.raises(ApiError) as caught:
        await admit(objects, asked, *enabled)
    return caught.value.message


async def test_pod_gets_account_token_priority_and_tolerations() -> None:
    asked = await admit(world(), request(pod()))

    assert asked.obj is not None
    spec = asked.obj["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert [(t["key"], t["tolerationSeconds"]) for t in spec["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 300),
        ("node.kubernetes.io/unreachable", 300),
    ]
    [volume] = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert [next(iter(source)) for source in volume["projected"]["sources"]] == [
        "serviceAccountToken", "configMap", "downwardAPI",
    ]  # fmt: skip
    assert volume["projected"]["sources"][0]["serviceAccountToken"] == {"expirationSeconds": 3607, "path": "token"}
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    ]


@pytest.mark.parametrize(
    ("account", "spec"), [({"automountServiceAccountToken": False}, {}), ({}, {"automountServiceAccountToken": False})]
)
async def test_pod_without_automount_gets_no_token(account: Object, spec: Object) -> None:
    asked = await admit(world(named("ServiceAccount", "default", "ns", **account)), request(pod(**spec)))

    assert asked.obj is not None
    assert "volumes" not in asked.obj["spec"]


async def test_admission_twice_changes_nothing_more() -> None:
    objects = world()
    once = await admit(objects, request(pod()))
    twice = await admit(objects, request(once.obj))

    assert twice.obj == once.obj


async def test_missing_account_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_account, "DEFAULT_ACCOUNT_INTERVAL", 0)
    objects = FakeObjects(named("Namespace", "ns"))

    assert await refused(objects, request(pod())) == (
        'pods "x1" is forbidden: error looking up service account ns/default: serviceaccount "default" not found'
    )


async def test_nothing_is_made_in_a_namespace_that_goes() -> None:
    late = named("ConfigMap", "late", "going")
    with pytest.raises(Forbidden) as caught:
        await admit(world(), request(late, resource="configmaps"))

    status = caught.value.status
    assert status["message"] == (
        'configmaps "late" is forbidden: unable to create new content in namespace going because it is being terminated'
    )
    assert status["details"]["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": "namespace going is being terminated",
            "field": "metadata.namespace",
        }
    ]


async def test_missing_namespace_is_not_found_and_a_new_one_is_looked_for() -> None:
    objects = world()
    obj = named("ConfigMap", "c", "new")
    with pytest.raises(NotFound, match='namespaces "new" not found'):
        await admit(objects, request(obj, resource="configmaps"))

    objects.late["namespaces", "", "new"] = named("Namespace", "new")

    await admit(objects, request(obj, resource="configmaps"))


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_first_namespaces_stay(name: str) -> None:
    asked = request(None, "DELETE", resource="namespaces", old=named("Namespace", name))

    assert await refused(world(), asked) == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


CRITICAL = named("PriorityClass", "high", api_version="scheduling.k8s.io/v1", value=1000, preemptionPolicy="Never")


async def test_priority_comes_from_the_class() -> None:
    asked = await admit(world(CRITICAL), request(pod(priorityClassName="high")))

    assert asked.obj is not None
    assert (asked.obj["spec"]["priority"], asked.obj["spec"]["preemptionPolicy"]) == (1000, "Never")
    assert await refused(world(), request(pod(priorityClassName="none"))) == (
        'pods "x1" is forbidden: no PriorityClass with name none was found'
    )
    assert "the integer value of priority (7) must not be provided in pod spec" in await refused(
        world(CRITICAL), request(pod(priorityClassName="high", priority=7))
    )


def storage_class(name: str, born: str) -> Object:
    return named(
        "StorageClass",
        name,
        api_version="storage.k8s.io/v1",
        metadata={
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            "creationTimestamp": born,
        },
    )


async def test_claim_gets_the_newest_default_class_and_a_finalizer() -> None:
    claim = named("PersistentVolumeClaim", "p", "ns", spec={})
    objects = world(storage_class("a", "2026-01-01T00:00:00Z"), storage_class("b", "2026-02-01T00:00:00Z"))

    asked = await admit(objects, request(claim, resource="persistentvolumeclaims"))

    assert asked.obj is not None
    assert asked.obj["spec"] == {"storageClassName": "b"}
    assert asked.obj["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]


async def test_new_node_is_tainted() -> None:
    asked = await admit(world(), request(named("Node", "n2"), resource="nodes"))

    assert asked.obj is not None
    assert asked.obj["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


MIRROR = {
    "annotations": {"kubernetes.io/config.mirror": "x"},
    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "uid-n1", "controller": True}],
}


def mirror(change: Object | None = None, **spec: Any) -> Object:
    obj = pod(nodeName="n1", **spec)
    obj["metadata"] = {**obj["metadata"], **MIRROR, **(change or {})}
    return obj


async def test_kubelet_makes_its_mirror_pods() -> None:
    await admit(world(), request(mirror(), user=KUBELET), "NodeRestriction")


OWN_POD = pod(nodeName="n1")
NODE = named("Node", "n1", spec={}, metadata={"labels": {"kubernetes.io/hostname": "n1"}})


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (request(OWN_POD, user=KUBELET), "can only create mirror pods"),
        (request(mirror({"ownerReferences": []}), user=KUBELET), "with an owner reference set to itself"),
        (
            request(mirror(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), user=KUBELET),
            'node "n1" can not create pods that reference secrets',
        ),
        (request(mirror(serviceAccountName="a"), user=KUBELET), "can not create pods that reference a service account"),
        (
            request(None, "DELETE", old=pod(nodeName="n2"), user=KUBELET),
            'node "n1" can only delete pods with spec.nodeName set to itself',
        ),
        (
            request(pod(nodeName="n2"), "UPDATE", old=pod(nodeName="n2"), subresource="status", user=KUBELET),
            'node "n1" can only update pod status for pods with spec.nodeName set to itself',
        ),
        (
            request(named("Node", "n2"), resource="nodes", user=KUBELET),
            'node "n1" is not allowed to modify node "n2"',
        ),
        (
            request(named("Node", "n1", spec={"taints": [{}]}), "UPDATE", resource="nodes", old=NODE, user=KUBELET),
            'node "n1" is not allowed to modify taints',
        ),
        (
            request(
                {**NODE, "metadata": {**NODE["metadata"], "labels": {"node-restriction.kubernetes.io/x": "y"}}},
                "UPDATE",
                resource="nodes",
                old=named("Node", "n1", spec={}),
                user=KUBELET,
            ),
            'nodes "n1" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/x',
        ),
        (
            request(
                {**NODE, "metadata": {**NODE["metadata"], "ownerReferences": [{"name": "x"}]}},
                "UPDATE",
                resource="nodes",
                old=NODE,
                user=KUBELET,
            ),
            'node "n1" is not allowed to modify ownerReferences',
        ),
        (
            request(named("Lease", "n2", "kube-node-lease"), resource="leases.coordination.k8s.io", user=KUBELET),
            "can only access node lease with the same name as the requesting node",
        ),
        (
            request(
                {"metadata": {"namespace": "ns"}, "spec": {}},
                resource="serviceaccounts",
                subresource="token",
                user=KUBELET,
                name="default",
            ),
            'serviceaccounts "default" is forbidden: node requested token not bound to a pod',
        ),
    ],
)
async def test_kubelet_keeps_to_its_own(asked: AdmissionRequest, why: str) -> None:
    objects = world(named("Namespace", "kube-node-lease"))

    assert why in await refused(objects, asked, "NodeRestriction")


RANGE = named(
    "LimitRange",
    "lr",
    "ns",
    spec={
        "limits": [
            {
                "type": "Container",
                "default": {"cpu": "500m"},
                "defaultRequest": {"cpu": "100m", "memory": "64Mi"},
                "max": {"cpu": "1"},
                "min": {"memory": "32Mi"},
            }
        ]
    },
)


async def test_limit_range_fills_in() -> None:
    asked = await admit(world(RANGE), request(pod()))

    assert asked.obj is not None
    assert asked.obj["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "64Mi"},
        "limits": {"cpu": "500m"},
    }
    assert asked.obj["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    )


async def test_limit_range_names_every_fault() -> None:
    wrong = {"requests": {"cpu": "100m", "memory": "1Mi"}, "limits": {"cpu": "2"}}

    assert await refused(world(RANGE), request(pod(containers=[{"name": "c", "resources": wrong}]))) == (
        'pods "x1" is forbidden: [minimum memory usage per Container is 32Mi, but request is 1Mi,'
        " maximum cpu usage per Container is 1, but limit is 2]"
    )


def quota(used: Object | None = None, **hard: str) -> Object:
    named_hard = {key.replace("_", "."): value for key, value in hard.items()}
    return named("ResourceQuota", "q", "ns", spec={"hard": named_hard}, status={"hard": named_hard, "used": used or {}})


async def test_quota_is_booked_then_spent() -> None:
    objects = world(quota(pods="1"))

    await admit(objects, request(pod()))

    assert objects.get(resources.named("resourcequotas"), "ns", "q")["status"]["used"] == {"pods": "1"}  # type: ignore[index]
    assert await refused(objects, request(pod())) == (
        'pods "x1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    )


async def test_quota_on_compute_needs_it_stated() -> None:
    assert await refused(world(quota(requests_cpu="1", limits_memory="1Gi")), request(pod())) == (
        'pods "x1" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c'
    )


async def test_dry_run_books_nothing() -> None:
    objects = world(quota(pods="1"))
    asked = request(pod())
    asked.dry_run = True

    await admit(objects, asked)

    assert objects.writes == []


async def test_roles_cannot_give_what_their_author_lacks() -> None:
    user = UserInfo("bob", ("dev",))
    role = named(
        "Role",
        "r",
        "ns",
        "rbac.authorization.k8s.io/v1",
        rules=[{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets"]}],
    )

    said = await refused(world(), request(role, resource="roles.rbac.authorization.k8s.io", user=user))

    assert said == (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "bob" (groups=["dev"]) is attempting to grant RBAC'
        ' permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    await admit(world(), request(role, resource="roles.rbac.authorization.k8s.io"))


async def test_external_addresses_are_refused_when_asked_for() -> None:
    service = named("Service", "s", "ns", spec={"externalIPs": ["192.0.2.1"]})

    await admit(world(), request(service, resource="services"))
    assert "Use of external IPs is denied" in await refused(
        world(), request(service, resource="services"), "DenyServiceExternalIPs"
    )


async def test_binding_carries_the_zone_of_its_node() -> None:
    binding = named("Binding", "x1", "ns", target={"kind": "Node", "name": "n1"})

    asked = await admit(world(), request(binding, subresource="binding"))

    assert asked.obj is not None
    assert asked.obj["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z1"}


@pytest.mark.parametrize(
    ("enabled", "disabled", "why"),
    [(["Nope"], [], "Nope are unknown"), (["Priority"], ["Priority"], "both enabled and disabled")],
)
def test_bad_flags(enabled: list[str], disabled: list[str], why: str) -> None:
    objects = world()
    with pytest.raises(ValueError, match=why):
        build_admission(enabled, disabled, objects, objects)


def test_quota_comes_last_and_escalation_cannot_be_turned_off() -> None:
    objects = world()

    names = build_admission([], ["RbacEscalation"], objects, objects).names

    assert names[0] == "NamespaceLifecycle"
    assert names[-1] == "ResourceQuota"
    assert "RbacEscalation" in names
    assert "NodeRestriction" not in names

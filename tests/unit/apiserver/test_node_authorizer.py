"""The Node authorizer: a kubelet reads what its pods use, and nothing else."""

from typing import Any

import pytest

from cluster.apiserver.node_authorizer import NodeAuthorizer
from cluster.apiserver.requests import Attributes, UserInfo
from tests.fakes.object_store import FakeObjects

N1 = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
NO_RELATION = "no relationship found between node 'n1' and this object"


def pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, **spec}}


OBJECTS = (
    pod(
        "p1",
        "n1",
        serviceAccountName="sa1",
        imagePullSecrets=[{"name": "pull"}],
        volumes=[
            {"name": "a", "secret": {"secretName": "vol"}},
            {"name": "b", "configMap": {"name": "conf"}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
            {"name": "d", "projected": {"sources": [{"secret": {"name": "proj"}}, {"configMap": {"name": "root"}}]}},
        ],
        containers=[
            {
                "name": "c",
                "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
                "envFrom": [{"configMapRef": {"name": "from"}}],
            }
        ],
    ),
    pod("p2", "n2", volumes=[{"name": "a", "secret": {"secretName": "theirs"}}], containers=[]),
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "claim", "namespace": "ns"},
        "spec": {"volumeName": "pv1"},
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "pv1"},
        "spec": {
            "claimRef": {"namespace": "ns", "name": "claim"},
            "csi": {"nodePublishSecretRef": {"name": "csi", "namespace": "store"}},
        },
    },
    {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv2"}, "spec": {}},
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": "va1"},
        "spec": {"nodeName": "n1"},
    },
)

ALLOWED = [
    ("get", "", "secrets", "", "ns", name, "") for name in ("vol", "pull", "proj", "env")
] + [
    ("get", "", "secrets", "", "store", "csi", ""),
    ("watch", "", "configmaps", "", "ns", "conf", ""),
    ("list", "", "configmaps", "", "ns", "root", ""),
    ("get", "", "configmaps", "", "ns", "from", ""),
    ("get", "", "persistentvolumeclaims", "", "ns", "claim", ""),
    ("patch", "", "persistentvolumeclaims", "status", "ns", "claim", ""),
    ("get", "", "persistentvolumes", "", "", "pv1", ""),
    ("get", "storage.k8s.io", "volumeattachments", "", "", "va1", ""),
    ("create", "", "serviceaccounts", "token", "ns", "sa1", ""),
    ("get", "", "pods", "", "ns", "p1", ""),
    ("list", "", "pods", "", "", "", "spec.nodeName=n1"),
    ("create", "", "pods", "", "ns", "", ""),
    ("update", "", "pods", "status", "ns", "p1", ""),
    ("create", "", "pods", "eviction", "ns", "p1", ""),
    ("get", "", "nodes", "", "", "n1", ""),
    ("watch", "", "nodes", "", "", "", "metadata.name=n1"),
    ("create", "", "nodes", "", "", "", ""),
    ("patch", "", "nodes", "status", "", "n1", ""),
    ("update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1", ""),
    ("create", "coordination.k8s.io", "leases", "", "kube-node-lease", "", ""),
    ("create", "storage.k8s.io", "csinodes", "", "", "", ""),
    ("list", "", "services", "", "", "", ""),
    ("create", "", "events", "", "ns", "", ""),
    ("create", "certificates.k8s.io", "certificatesigningrequests", "", "", "", ""),
    ("create", "authentication.k8s.io", "tokenreviews", "", "", "", ""),
    ("create", "authorization.k8s.io", "subjectaccessreviews", "", "", "", ""),
]  # fmt: skip

DENIED = [
    (("get", "", "secrets", "", "ns", "theirs", ""), NO_RELATION),
    (("get", "", "secrets", "", "other", "vol", ""), NO_RELATION),
    (("list", "", "secrets", "", "ns", "", ""), "No Object name found"),
    (("list", "", "secrets", "", "", "", ""), "can only read namespaced object of this type"),
    (("delete", "", "secrets", "", "ns", "vol", ""), "can only read resources of this type"),
    (("list", "", "persistentvolumes", "", "", "", ""), "can only get individual resources of this type"),
    (("get", "", "persistentvolumes", "", "", "pv2", ""), NO_RELATION),
    (("get", "", "persistentvolumeclaims", "status", "ns", "claim", ""), "can only get/update/patch this type"),
    (("create", "", "serviceaccounts", "token", "ns", "default", ""), NO_RELATION),
    (("create", "", "serviceaccounts", "", "ns", "", ""), "can only create tokens for individual service accounts"),
    (("get", "", "pods", "", "ns", "p2", ""), NO_RELATION),
    (("list", "", "pods", "", "", "", ""), "can only list/watch pods with spec.nodeName field selector"),
    (
        ("list", "", "pods", "", "", "", "spec.nodeName!=n1"),
        "can only list/watch pods with spec.nodeName field selector",
    ),
    (
        ("list", "", "pods", "", "", "", "spec.nodeName=n2"),
        "can only list/watch pods with spec.nodeName field selector",
    ),
    (("create", "", "pods", "exec", "ns", "p1", ""), ""),
    (("update", "", "pods", "", "ns", "p1", ""), ""),
    (("get", "", "nodes", "", "", "n2", ""), "node 'n1' cannot read 'n2', only its own Node object"),
    (("list", "", "nodes", "", "", "", ""), "node 'n1' cannot read all nodes, only its own Node object"),
    (("delete", "", "nodes", "", "", "n1", ""), ""),
    (
        ("get", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2", ""),
        "can only access node lease with the same name as the requesting node",
    ),
    (
        ("get", "coordination.k8s.io", "leases", "", "kube-system", "n1", ""),
        'can only access leases in the "kube-node-lease" system namespace',
    ),
    (
        ("list", "coordination.k8s.io", "leases", "", "kube-node-lease", "", ""),
        "can only get, create, update, patch, or delete a node lease",
    ),
    (("get", "rbac.authorization.k8s.io", "clusterroles", "", "", "x", ""), ""),
    (("create", "apps", "deployments", "", "ns", "", ""), ""),
]


def question(asked: tuple[str, ...], user: UserInfo = N1) -> Attributes:
    verb, group, resource, subresource, namespace, name, selector = asked
    return Attributes(user, verb, group, "v1", resource, subresource, namespace, name, field_selector=selector)


@pytest.mark.parametrize("asked", ALLOWED, ids=lambda a: " ".join(filter(None, a)))
async def test_a_node_may(asked: tuple[str, ...]) -> None:
    authorizer = NodeAuthorizer(FakeObjects(*OBJECTS))

    assert (await authorizer.authorize(question(asked))).allowed
    assert (await authorizer.authorize(question(asked))).allowed, "a remembered proof holds too"


@pytest.mark.parametrize(("asked", "reason"), DENIED, ids=lambda a: " ".join(filter(None, a)) if a else "")
async def test_a_node_may_not(asked: tuple[str, ...], reason: str) -> None:
    decision = await NodeAuthorizer(FakeObjects(*OBJECTS)).authorize(question(asked))

    assert (decision.allowed, decision.denied, decision.reason) == (False, False, reason)


async def test_a_remembered_relation_ends_with_its_pod() -> None:
    from cluster.api.resources import PODS

    objects = FakeObjects(*OBJECTS)
    authorizer = NodeAuthorizer(objects)
    asked = question(("get", "", "secrets", "", "ns", "vol", ""))
    assert (await authorizer.authorize(asked)).allowed

    objects.remove(PODS, "ns", "p1")

    assert not (await authorizer.authorize(asked)).allowed


async def test_a_mirror_pod_opens_nothing() -> None:
    mirror = pod("m", "n1", volumes=[{"name": "a", "secret": {"secretName": "wanted"}}])
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    authorizer = NodeAuthorizer(FakeObjects(mirror))

    assert not (await authorizer.authorize(question(("get", "", "secrets", "", "ns", "wanted", "")))).allowed


@pytest.mark.parametrize(
    "user",
    [UserInfo("system:node:n1"), UserInfo("bob", ("system:nodes",)), UserInfo("system:node:", ("system:nodes",))],
    ids=["without the group", "without the prefix", "without a name"],
)
async def test_others_are_no_nodes(user: UserInfo) -> None:
    authorizer = NodeAuthorizer(FakeObjects(*OBJECTS))

    assert not (await authorizer.authorize(question(("get", "", "nodes", "", "", "n1", ""), user))).allowed

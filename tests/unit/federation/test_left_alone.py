"""What servers make for themselves stays where it is, and everything else goes to the members."""

from typing import Any

import pytest

from cluster.api import resources
from cluster.api.resources import Resource
from federation.api.refs import Ref, outliving_key, placement_key, ref_of, ref_of_template
from federation.api.resources import CLUSTERS, PLACEMENTS
from federation.placement.left_alone import is_propagated, is_propagated_kind


def an(api_version: str, kind: str, name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, **more.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


LOCAL = {"labels": {"federation.hanse.io/local": "true"}}
RBAC = "rbac.authorization.k8s.io/v1"


@pytest.mark.parametrize(
    "obj",
    [
        an("v1", "Namespace", "default"),
        an("v1", "Namespace", "kube-system"),
        an("v1", "Namespace", "federation-system"),
        an("v1", "ConfigMap", "any", "kube-public"),
        an("v1", "Secret", "cluster-one", "federation-system"),
        an("v1", "ConfigMap", "mine", "shop", metadata=LOCAL),
        an("v1", "ServiceAccount", "default", "shop"),
        an("v1", "ConfigMap", "kube-root-ca.crt", "shop"),
        an("v1", "Secret", "token", "shop", type="kubernetes.io/service-account-token"),
        an("v1", "Service", "kubernetes", "default"),
        an("scheduling.k8s.io/v1", "PriorityClass", "system-node-critical"),
        an(RBAC, "ClusterRole", "admin", metadata={"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}),
        an(RBAC, "RoleBinding", "system:thing", "shop"),
        an(
            "flowcontrol.apiserver.k8s.io/v1",
            "FlowSchema",
            "exempt",
            metadata={"annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        ),
    ],
    ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}",
)
def test_these_objects_are_left_alone(obj: dict[str, Any]) -> None:
    assert not is_propagated(obj)


@pytest.mark.parametrize(
    "obj",
    [
        an("v1", "Namespace", "shop"),
        an("v1", "ConfigMap", "settings", "default"),
        an("v1", "Service", "kubernetes", "shop"),
        an("v1", "Secret", "token", "shop", type="Opaque"),
        an(RBAC, "ClusterRole", "shop-reader"),
        an("example.com/v1", "ServiceAccount", "default", "shop"),
        an("v1", "ConfigMap", "mine", "shop", metadata={"labels": {"federation.hanse.io/local": "false"}}),
    ],
    ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}",
)
def test_these_objects_go_to_the_members(obj: dict[str, Any]) -> None:
    assert is_propagated(obj)


def test_kinds_that_can_be_made_and_watched_go_but_those_of_one_cluster_alone() -> None:
    view = Resource("", "v1", "pods", "Pod", True, verbs=frozenset({"get", "list", "watch"}))
    custom = Resource("example.com", "v1", "things", "Thing", True, verbs=CLUSTERS.verbs)
    left = [view, CLUSTERS, PLACEMENTS, resources.LEASES]
    assert not [one for one in left if is_propagated_kind(one)]
    assert is_propagated_kind(custom)
    assert is_propagated_kind(resources.CONFIG_MAPS)


def test_an_object_is_called_the_same_in_every_version_and_by_its_placement() -> None:
    ref = Ref("apps", "Deployment", "shop", "web")
    assert ref_of(an("apps/v1", "Deployment", "web", "shop")) == ref_of(an("apps/v1beta1", "Deployment", "web", "shop"))
    template = {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"}
    assert ref_of_template({"spec": {"template": template}}) == ref
    assert ref_of_template({"spec": {"template": {"apiVersion": "v1", "kind": "Namespace", "name": "shop"}}}) == Ref(
        "", "Namespace", "", "shop"
    )
    assert str(ref) == "Deployment.apps shop/web"
    assert placement_key(ref) == ("shop", "deployment.apps-web")
    assert outliving_key(ref) == ("", "deployment.apps-shop.web")

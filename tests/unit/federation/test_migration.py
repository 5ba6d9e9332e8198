"""What a promotion strips and refuses, and how a move changes policies."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.api import resources
from cluster.machinery.objects import Object
from federation.errors import WrongInputError
from federation.host.kinds import find_kind
from federation.migration.pins import MIGRATION, clusters_of, derived, moved, pin, priority_over, selector_for
from federation.migration.templates import keeps_data, selects, template_of, why_not
from federation.object_commands import aligned

WEB: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "1",
        "resourceVersion": "7",
        "annotations": {"deployment.kubernetes.io/revision": "3", "team": "shop"},
        "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {}}],
    },
    "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
    "status": {"replicas": 2},
}
VIEWED = replace(resources.NODES, verbs=frozenset({"get", "list", "watch"}))
"""As a federation serves it."""


def live(**metadata: Any) -> Object:
    return {**WEB, "metadata": {**WEB["metadata"], **metadata}}


def test_a_template_holds_nothing_that_its_member_decided() -> None:
    template = template_of(WEB)
    assert template["metadata"] == {"name": "web", "namespace": "shop", "annotations": {"team": "shop"}}
    assert "status" not in template
    assert template["spec"] == WEB["spec"]
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "managedFields": [
        {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:volumeName": {}}}}
    ]}, "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteOnce"]}}  # fmt: skip
    assert template_of(claim)["spec"] == {"accessModes": ["ReadWriteOnce"]}


@pytest.mark.parametrize(
    ("obj", "resource", "why"),
    [
        (live(), resources.DEPLOYMENTS, ""),
        (live(labels={"federation.hanse.io/managed": "true"}), resources.DEPLOYMENTS, "federated already"),
        (live(labels={"federation.hanse.io/local": "true"}), resources.DEPLOYMENTS, "does not propagate"),
        (live(deletionTimestamp="2026-01-01T00:00:00Z"), resources.DEPLOYMENTS, "being deleted"),
        (
            live(ownerReferences=[{"kind": "Shop", "name": "a", "controller": True}]),
            resources.DEPLOYMENTS,
            "Shop a made",
        ),
        (live(namespace="kube-system"), resources.DEPLOYMENTS, "does not propagate"),
        ({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}, VIEWED, "does not propagate"),
    ],
)
def test_what_cannot_be_promoted_is_told(obj: Object, resource: resources.Resource, why: str) -> None:
    said = why_not(resource, obj)
    assert why in said
    assert bool(said) == bool(why)


def test_services_of_pods_and_data_that_stays_are_recognized() -> None:
    assert selects({"spec": {"selector": {"app": "web"}}}, [WEB])
    assert not selects({"spec": {"selector": {"app": "other"}}}, [WEB])
    assert not selects({"spec": {}}, [WEB])  # no selector means no Pods, not all
    assert not keeps_data(WEB)
    volumes = {"spec": {"template": {"spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "x"}}]}}}}
    assert keeps_data({**WEB, **volumes})
    assert keeps_data({"kind": "StatefulSet", "spec": {"volumeClaimTemplates": [{}]}})


def test_a_move_names_the_new_cluster_for_the_old_one_everywhere() -> None:
    policy = pin("web", "web", "shop", [selector_for(WEB)], ["east", "north"], 0)
    assert clusters_of(moved(policy, "east", "west", both=True)) == ["east", "north", "west"]
    assert clusters_of(moved(policy, "east", "west", both=False)) == ["north", "west"]
    weights = [{"clusters": {"clusterNames": ["east"]}, "weight": 3}]
    policy["spec"]["placement"]["replicaScheduling"] = {"weights": weights}
    changed = moved(policy, "east", "west", both=False)["spec"]["placement"]["replicaScheduling"]["weights"]
    assert changed == [{"clusters": {"clusterNames": ["west"]}, "weight": 3}]
    assert weights[0]["clusters"] == {"clusterNames": ["east"]}


def test_a_policy_for_one_object_keeps_what_the_one_in_force_says() -> None:
    old = pin("all", "x", "shop", [{"apiVersion": "apps/v1", "kind": "Deployment"}], ["east"], 4)
    old["spec"]["failover"] = {"tolerationSeconds": 5}
    old["spec"]["placement"] = {"clusterAffinities": [{"affinityName": "a"}], "spreadConstraints": [{"maxGroups": 2}]}
    made = derived(old, "web-moved", "web", WEB, {"west"})
    assert made["spec"]["priority"] == 5
    assert made["spec"]["failover"] == {"tolerationSeconds": 5}
    assert made["spec"]["placement"] == {
        "clusterAffinity": {"clusterNames": ["west"]}, "spreadConstraints": [{"maxGroups": 2}]
    }  # fmt: skip
    assert made["spec"]["resourceSelectors"] == [selector_for(WEB)]
    assert made["metadata"]["labels"] == {MIGRATION: "web"}
    assert derived(None, "web-moved", "web", WEB, {"west"})["spec"]["priority"] == 1


def test_a_promotion_goes_before_every_policy_that_is_there() -> None:
    other = pin("all", "x", "shop", [{"apiVersion": "apps/v1", "kind": "Deployment"}], ["east"], 7)
    del other["metadata"]["labels"]
    assert priority_over([WEB], [other]) == 8
    assert priority_over([WEB], []) == 0


@pytest.mark.parametrize("name", ["deploy", "deployment", "Deployment", "deployments", "deployments.apps"])
def test_kinds_are_found_by_every_name_they_have(name: str) -> None:
    assert find_kind(name, resources.ALL).qualified == "deployments.apps"


def test_a_kind_that_nobody_knows_is_told() -> None:
    for name in ("lamp", "pods.apps", ""):
        with pytest.raises(WrongInputError, match="there is no kind"):
            find_kind(name, resources.ALL)


def test_what_would_move_the_cursor_is_shown_as_its_code() -> None:
    assert list(aligned([("NAME", "X"), ("a\x1b[2J", "b")])) == ["NAME       X", "a\\x1b[2J   b"]

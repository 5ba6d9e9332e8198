"""Overrides change what is meant and nothing else."""

import json
from typing import Any

import pytest
import yaml

from federation.placement import images
from federation.placement.members import Member
from federation.placement.overrides import override
from federation.placement.policies import override_policy_of, overrides_for

DIGEST = "sha256:" + "ab" * 32
EU, US = Member("eu", region="eu"), Member("us", region="us")


def workload(image: str = "nginx:1.27") -> dict[str, Any]:
    container = {"name": "web", "image": image, "args": ["--a", "--b"]}
    metadata = {"name": "web", "namespace": "shop", "labels": {"app": "web", "federation.hanse.io/managed": "true"}}
    spec = {"replicas": 2, "template": {"spec": {"containers": [container]}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def policy(overriders: dict[str, Any], target: dict[str, Any] | None = None, **metadata: str) -> dict[str, Any]:
    rule = {"targetCluster": target, "overriders": overriders}
    meta = {"name": "o", "namespace": "shop", **metadata}
    return {"kind": "OverridePolicy", "metadata": meta, "spec": {"overrideRules": [rule]}}


def overridden(overriders: dict[str, Any], obj: dict[str, Any] | None = None) -> dict[str, Any]:
    result = override(obj or workload(), EU, [override_policy_of(policy(overriders))])
    assert not result.fault
    return result.obj


@pytest.mark.parametrize(
    "text",
    [
        "nginx",
        "nginx:1",
        "team/app:1",
        "localhost/app",
        "reg:5000/team/app:1",
        f"reg.io/app@{DIGEST}",
        f"a/b:1@{DIGEST}",
    ],
)
def test_images_survive_being_taken_apart(text: str) -> None:
    assert str(images.parse(text)) == text


@pytest.mark.parametrize(
    ("before", "component", "operator", "value", "after"),
    [
        ("nginx:1", "Registry", "replace", "mirror:5000", "mirror:5000/nginx:1"),
        ("reg:5000/team/app:1", "Registry", "remove", "", "team/app:1"),
        ("reg.io/app:1", "Registry", "add", ".cn", "reg.io.cn/app:1"),
        ("reg:5000/team/app:1", "Repository", "replace", "other/app", "reg:5000/other/app:1"),
        ("reg:5000/team/app:1", "Repository", "add", "-debug", "reg:5000/team/app-debug:1"),
        ("reg:5000/app", "Tag", "replace", "2", "reg:5000/app:2"),
        (f"reg:5000/app@{DIGEST}", "Tag", "replace", "2", "reg:5000/app:2"),
        ("app:1", "Tag", "replace", DIGEST, f"app@{DIGEST}"),
        (f"app:1@{DIGEST}", "Tag", "remove", "", "app"),
        ("app:1", "Tag", "add", "-alpine", "app:1-alpine"),
    ],
)
def test_images_change_by_component(before: str, component: str, operator: str, value: str, after: str) -> None:
    rule = {"component": component, "operator": operator, "value": value}

    obj = overridden({"image": [rule]}, workload(before))

    assert obj["spec"]["template"]["spec"]["containers"][0]["image"] == after


def test_arguments_labels_and_patches_change_in_order() -> None:
    obj = overridden(
        {
            "args": [
                {"container": "web", "operator": "remove", "value": ["--a"]},
                {"container": "web", "operator": "add", "value": ["--c"]},
                {"container": "nobody", "operator": "add", "value": ["--d"]},
            ],
            "command": [{"container": "web", "operator": "add", "value": ["run"]}],
            "labels": [
                {"operator": "replace", "value": {"app": "shop", "absent": "x"}},
                {"operator": "add", "value": {"tier": "gold"}},
            ],
            "plaintext": [{"op": "replace", "path": "/metadata/labels/tier", "value": "tin"}],
        }
    )

    assert obj["metadata"]["labels"] == {"app": "shop", "tier": "tin", "federation.hanse.io/managed": "true"}
    container = obj["spec"]["template"]["spec"]["containers"][0]
    assert (container["command"], container["args"]) == (["run"], ["--b", "--c"])


def config_map(**data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop"},
        "data": data,
    }


def test_documents_inside_of_a_config_map_are_changed_as_documents() -> None:
    obj = overridden(
        {
            "field": [
                {
                    "path": "/data/db.yaml",
                    "yaml": [
                        {"op": "replace", "path": "/db/host", "value": "db.eu"},
                        {"op": "add", "path": "/db/ports/-", "value": 5433},
                        {"op": "remove", "path": "/debug"},
                    ],
                },
                {"path": "/data/web.json", "json": [{"op": "replace", "path": "", "value": {"region": "eu"}}]},
                {"path": "/data/absent", "json": [{"op": "remove", "path": "/x"}]},
            ]
        },
        config_map(**{"db.yaml": "db: {host: db, ports: [5432], since: 2020-01-01}\ndebug: yes\n", "web.json": "{}"}),
    )

    assert yaml.safe_load(obj["data"]["db.yaml"]) == {
        "db": {"host": "db.eu", "ports": [5432, 5433], "since": "2020-01-01"}
    }
    assert json.loads(obj["data"]["web.json"]) == {"region": "eu"}
    assert set(obj["data"]) == {"db.yaml", "web.json"}


@pytest.mark.parametrize(
    ("form", "text", "fault"),
    [
        ("json", "{", "/data/x holds no json"),
        ("yaml", "[" * 60_000, "/data/x holds no yaml"),
        ("yaml", "a: 1\na: 2", "/data/x holds keys twice"),
        ("json", "{}", "json operation 1 (remove /no) at /data/x does not apply to the document"),
    ],
)
def test_documents_that_cannot_be_changed_say_why(form: str, text: str, fault: str) -> None:
    overriders = {"field": [{"path": "/data/x", form: [{"op": "remove", "path": "/no"}]}]}

    result = override(config_map(x=text), EU, [override_policy_of(policy(overriders))])

    assert fault in result.fault
    assert result.obj == config_map(x=text)


def test_one_container_gets_another_image_and_the_others_keep_theirs() -> None:
    obj = workload()
    obj["spec"]["template"]["spec"]["containers"].append({"name": "proxy", "image": "envoy:1"})
    changed = overridden(
        {"image": [{"container": "proxy", "component": "Tag", "operator": "replace", "value": "2"}]}, obj
    )

    images_now = [one["image"] for one in changed["spec"]["template"]["spec"]["containers"]]
    assert images_now == ["nginx:1.27", "envoy:2"]


def test_a_policy_without_selectors_means_every_object_of_its_namespace() -> None:
    given = policy({})
    given["spec"]["resourceSelectors"] = None
    elsewhere = {**config_map(), "metadata": {"name": "settings", "namespace": "other"}}

    for obj, count in ((workload(), 1), (config_map(), 1), (elsewhere, 0)):
        assert len(overrides_for(obj, [override_policy_of(given)])) == count


def test_rules_reach_only_the_clusters_they_target() -> None:
    given = policy({"labels": [{"operator": "add", "value": {"in": "eu"}}]}, {"clusterNames": ["eu"]})

    result = override(workload(), US, [override_policy_of(given)])

    assert (result.obj, result.applied) == (workload(), ())


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ({"op": "replace", "path": "/spec/x", "value": 1}, "plaintext operation 1 (replace /spec/x) does not apply"),
        ({"op": "replace", "path": "/metadata/name", "value": "z"}, "may not change metadata.name to 'z'"),
        ({"op": "replace", "path": "/metadata", "value": "z"}, "leave nothing of metadata"),
        ({"op": "replace", "path": "/kind", "value": "Pod"}, "may not change kind from 'Deployment' to 'Pod'"),
        ({"op": "remove", "path": "/metadata/labels"}, "may not change metadata.labels that begin with federation."),
        ({"op": "add", "path": "", "value": {}}, "would replace the object altogether"),
    ],
)
def test_overrides_that_cannot_be_applied_say_why_and_change_nothing(operation: dict[str, Any], fault: str) -> None:
    result = override(workload(), EU, [override_policy_of(policy({"plaintext": [operation]}))])

    assert fault in result.fault
    assert result.obj == workload()


def test_cluster_wide_overrides_come_first_and_specific_ones_last() -> None:
    named = policy({}, name="named")
    named["spec"]["resourceSelectors"] = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}]
    everywhere = policy({}, name="everywhere", namespace="")
    policies = [override_policy_of(one) for one in (named, policy({}, name="all"), everywhere)]

    assert [one.name for one in overrides_for(workload(), policies)] == ["everywhere", "all", "named"]

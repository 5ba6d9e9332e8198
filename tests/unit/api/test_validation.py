"""The folder tests/scenarios/api: which objects are refused, in which words and in which order."""

import pathlib
from typing import Any

import pytest
import yaml

from cluster.api import resources
from cluster.api.defaults import apply_defaults
from cluster.api.validation import validate_create, validate_status_update, validate_update
from cluster.machinery.objects import Object, copy_object

CASES = yaml.safe_load((pathlib.Path(__file__).parents[2] / "scenarios/api/validation.yaml").read_text())
SEALED = {"metadata": {"name": "c", "namespace": "n"}, "data": {"k": "v"}, "immutable": True}


def change(obj: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for step in parents:
        obj = obj[int(step)] if isinstance(obj, list) else obj.setdefault(step, {})
    key: int | str = int(last) if isinstance(obj, list) else last
    if value is None:
        del obj[key]
    else:
        obj[key] = value


def changed(case: dict[str, Any]) -> Object:
    obj = copy_object(CASES["good"][case["resource"]])
    for path, value in case["change"].items():
        change(obj, path, value)
    return obj


def completed(name: str, obj: Object) -> Object:
    apply_defaults(resources.named(name), obj)
    return obj


@pytest.mark.parametrize("name", CASES["good"])
def test_a_good_object_is_accepted_and_may_stay_as_it_is(name: str) -> None:
    obj = completed(name, copy_object(CASES["good"][name]))
    assert [str(error) for error in validate_create(resources.named(name), obj)] == []
    assert [str(error) for error in validate_update(resources.named(name), copy_object(obj), obj)] == []
    assert [str(error) for error in validate_status_update(resources.named(name), copy_object(obj), obj)] == []


@pytest.mark.parametrize("case", CASES["bad"], ids=lambda case: case["name"])
def test_a_bad_object_is_refused(case: dict[str, Any]) -> None:
    obj = completed(case["resource"], changed(case))
    assert [str(error) for error in validate_create(resources.named(case["resource"]), obj)] == case["faults"]


@pytest.mark.parametrize("case", CASES["updates"], ids=lambda case: case["name"])
def test_what_may_not_change(case: dict[str, Any]) -> None:
    old = completed(case["resource"], copy_object(CASES["good"][case["resource"]]))
    old["metadata"]["uid"] = "one"
    new = copy_object(old)
    for path, value in case["change"].items():
        change(new, path, value)
    assert [str(error) for error in validate_update(resources.named(case["resource"]), new, old)] == case["faults"]


@pytest.mark.parametrize("resource", resources.ALL, ids=lambda resource: f"{resource.qualified}/{resource.version}")
def test_an_empty_object_of_any_kind_gets_an_answer(resource: resources.Resource) -> None:
    obj: Object = {"metadata": {}}
    apply_defaults(resource, obj)
    assert "metadata.name: Required value: name or generateName is required" in [
        str(error) for error in validate_create(resource, obj)
    ]


@pytest.mark.parametrize(
    ("new", "faults"),
    [
        ({**SEALED, "data": {"k": "w"}}, ["data: Forbidden: field is immutable when `immutable` is set"]),
        ({**SEALED, "immutable": False}, ["immutable: Forbidden: field is immutable when `immutable` is set"]),
        ({**SEALED, "metadata": {**SEALED["metadata"], "labels": {"a": "b"}}}, []),  # type: ignore[dict-item]
    ],
)
def test_a_sealed_config_map_keeps_its_data_and_its_seal(new: Object, faults: list[str]) -> None:
    assert [str(error) for error in validate_update(resources.CONFIG_MAPS, new, SEALED)] == faults


def test_nobody_adds_a_finalizer_to_what_is_being_deleted() -> None:
    old = {"metadata": {"name": "c", "namespace": "n", "deletionTimestamp": "T", "finalizers": ["a.example/x"]}}
    new = {"metadata": {**old["metadata"], "finalizers": ["a.example/x", "a.example/y"]}}
    fault = (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"a.example/y"}'
    )
    assert [str(error) for error in validate_update(resources.CONFIG_MAPS, new, old)] == [fault, fault]


def test_an_ephemeral_container_is_added_by_its_own_door_alone() -> None:
    old = completed("pods", copy_object(CASES["good"]["pods"]))
    new = copy_object(old)
    new["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "i:1"}]
    apply_defaults(resources.PODS, new)
    assert validate_update(resources.PODS, new, old, "ephemeralcontainers") == []
    assert [error.field for error in validate_update(resources.PODS, new, old)] == ["spec"]
    assert [error.field for error in validate_update(resources.PODS, old, new, "ephemeralcontainers")] == [
        "spec.ephemeralContainers"
    ]


def test_a_pod_gets_its_node_by_binding_and_once() -> None:
    old = completed("pods", copy_object(CASES["good"]["pods"]))
    new = copy_object(old)
    new["spec"]["nodeName"] = "n1"
    assert validate_update(resources.PODS, new, old, "binding") == []
    assert [error.field for error in validate_update(resources.PODS, new, old)] == ["spec"]
    moved = {**new, "spec": {**new["spec"], "nodeName": "n2"}}
    assert [error.field for error in validate_update(resources.PODS, moved, new, "binding")] == ["spec.nodeName"]


def test_resources_change_by_resize_alone() -> None:
    old = completed("pods", copy_object(CASES["good"]["pods"]))
    new = copy_object(old)
    new["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    assert validate_update(resources.PODS, new, old, "resize") == []
    assert [error.field for error in validate_update(resources.PODS, new, old)] == ["spec"]


def test_counts_in_a_status_are_not_negative() -> None:
    old = completed("deployments.apps", copy_object(CASES["good"]["deployments.apps"]))
    new = {**old, "status": {"replicas": -1}}
    assert [str(error) for error in validate_status_update(resources.DEPLOYMENTS, new, old)] == [
        "status.replicas: Invalid value: -1: must be greater than or equal to 0"
    ]

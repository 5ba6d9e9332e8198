"""What a definition serves, which names it gets, and how it ends."""

from typing import Any

from cluster.api.printers import custom
from cluster.apiserver.custom_resources import definitions, names, scale
from cluster.apiserver.custom_resources.serving import DEFINITIONS
from cluster.apiserver.custom_resources.strategy import DefinitionStrategy
from cluster.machinery.timestamps import parse_time

NOW = "2024-01-02T03:04:05Z"
ESTABLISHED = {"type": "Established", "status": "True", "lastTransitionTime": NOW, "reason": "r", "message": "m"}


def definition(uid: str = "1", group: str = "g.example.com", **spec: Any) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    wanted = {"plural": "ships", "singular": "ship", "kind": "Ship", "listKind": "ShipList"}
    body = {"group": group, "scope": "Namespaced", "names": wanted, "versions": [version], **spec}
    return {"metadata": {"name": f"ships.{group}", "uid": uid, "generation": 1}, "spec": body, "status": {}}


def settled(one: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    return {**one, "status": names.next_status(one, others, NOW)}


def test_nothing_is_served_before_the_names_are_accepted() -> None:
    fresh = definition()
    assert definitions.served(fresh) == []
    (resource,) = definitions.served(settled(fresh))
    assert (resource.plural, resource.kind, resource.api_version) == ("ships", "Ship", "g.example.com/v1")


def test_a_right_status_stays_as_it_is() -> None:
    one = settled(definition())
    assert names.next_status(one, [], "2030-01-01T00:00:00Z") == one["status"]


def test_taken_names_are_refused_but_never_taken_away() -> None:
    first = settled(definition("1"))
    second = settled(definition("2"), first)
    assert definitions.condition(second, "NamesAccepted")["reason"] == "ListKindConflict"
    assert definitions.condition(second, "Established")["status"] == "False"
    assert settled(first, second) == first
    elsewhere = settled(definition("3", "other.example.com"), first)
    assert definitions.is_true(elsewhere, "Established")


def test_a_rule_that_is_not_enforced_is_told_and_forgotten() -> None:
    one = {**definition(), "status": names.next_status(definition(), [], NOW, ["semver(x): unknown"])}
    told = definitions.condition(one, "ValidationRulesEnforced")
    assert (told["status"], "semver" in told["message"]) == ("False", True)
    assert definitions.condition(settled(one), "ValidationRulesEnforced")["status"] == "True"


def test_a_protected_group_says_who_approved_it() -> None:
    one = definition(group="x.k8s.io")
    one["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.com/1"}
    assert definitions.is_true(settled(one), "KubernetesAPIApprovalPolicyConformant")


def test_deleting_leaves_the_generation_and_adds_the_finalizer() -> None:
    one = settled(definition())
    one["metadata"]["generation"] = 2
    DefinitionStrategy(DEFINITIONS).on_marked(one)
    assert one["metadata"]["generation"] == 1
    assert one["metadata"]["finalizers"] == [definitions.FINALIZER]
    assert definitions.is_true(one, "Terminating")


def test_columns_are_those_of_the_version_or_the_age() -> None:
    (plain,) = definitions.served(settled(definition()))
    obj = {"metadata": {"name": "a", "creationTimestamp": "2024-01-02T03:04:00Z"}, "spec": {"n": 3, "t": [1]}}
    now = parse_time(NOW)
    assert custom.cells(plain, obj, now) == ["a", "5s"]
    columns = [
        {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
        {"name": "T", "type": "string", "jsonPath": ".spec.t"},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.gone"},
        {"name": "Wrong", "type": "boolean", "jsonPath": ".spec.n"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    one = definition()
    one["spec"]["versions"][0]["additionalPrinterColumns"] = columns
    (resource,) = definitions.served(settled(one))
    assert custom.cells(resource, obj, now) == ["a", 3, "[1]", None, None, "5s"]
    assert [column["name"] for column in custom.columns(resource)] == ["Name", "N", "T", "Gone", "Wrong", "Age"]


def test_a_scale_is_read_and_written_where_the_definition_says() -> None:
    one = definition()
    paths = {"specReplicasPath": ".spec.a.crew", "statusReplicasPath": ".status.n", "labelSelectorPath": ".status.sel"}
    one["spec"]["versions"][0]["subresources"] = {"scale": paths}
    (resource,) = definitions.served(settled(one))
    obj: dict[str, Any] = {"metadata": {"name": "a"}, "spec": {"a": {"crew": 2}}, "status": {"sel": "x=y"}}
    found = scale.scale_of(resource, obj)
    assert (found["spec"], found["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "x=y"})
    scale.set_replicas(resource, obj, 7)
    assert obj["spec"] == {"a": {"crew": 7}}


def test_an_object_inside_another_needs_a_type() -> None:
    inner = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    one = definition()
    one["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"type": "object", "properties": {"spec": inner}}
    (resource,) = definitions.served(settled(one))
    assert [str(fault) for fault in resource.faults({"spec": {"kind": "Pod"}})] == [
        "spec.apiVersion: Required value: must not be empty"
    ]

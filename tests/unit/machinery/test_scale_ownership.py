"""Who scales owns the replicas."""

from typing import Any

from cluster.api.resources import Resource
from cluster.machinery import managed_fields, scale_ownership

SCALES = Resource("autoscaling", "v1", "scales", "Scale", namespaced=True)
NOW = "2026-01-02T03:04:05Z"


def entry(manager: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    return {
        "manager": manager, "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
        "fieldsV1": fields, **more,
    }  # fmt: skip


PARENT = [entry("a", {"f:spec": {"f:paused": {}, "f:replicas": {}}}, time=NOW), entry("b", {"f:spec": {"f:x": {}}})]


def test_scale_shows_only_who_owns_the_replicas() -> None:
    (owner,) = scale_ownership.to_scale(PARENT)

    assert (owner["manager"], owner["apiVersion"]) == ("a", "autoscaling/v1")
    assert owner["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


def test_forced_apply_of_a_scale_takes_the_replicas_from_the_parents_owner() -> None:
    live = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 1}}
    live["metadata"] = {"name": "d", "managedFields": scale_ownership.to_scale(PARENT)}
    applied = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 5}}

    scale = managed_fields.apply(SCALES, live, applied, "h", True, NOW, "scale")
    after = scale_ownership.to_parent(PARENT, scale["metadata"]["managedFields"], "apps/v1")

    assert scale["spec"] == {"replicas": 5}
    assert {e["manager"]: e["fieldsV1"] for e in after} == {
        "a": {"f:spec": {"f:paused": {}}},
        "b": {"f:spec": {"f:x": {}}},
        "h": {"f:spec": {"f:replicas": {}}},
    }
    taken = next(e for e in after if e["manager"] == "h")
    assert (taken["subresource"], taken["apiVersion"], "time" in taken) == ("scale", "apps/v1", False)


def test_owner_that_scales_to_the_same_keeps_its_entry() -> None:
    assert scale_ownership.to_parent(PARENT, scale_ownership.to_scale(PARENT), "apps/v1") == sorted(
        PARENT, key=lambda e: (e.get("time", ""), e["manager"])
    )


def test_custom_resources_name_their_own_path() -> None:
    crew = scale_ownership.path_of(".spec.crew")
    parent = [entry("a", {"f:spec": {"f:crew": {}}})]

    assert crew == {"f:spec": {"f:crew": {}}}
    assert len(scale_ownership.to_scale(parent, crew)) == 1
    assert scale_ownership.to_parent(parent, [], "g.example.com/v1", crew) == []

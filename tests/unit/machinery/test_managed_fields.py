"""Field ownership and server-side apply: a scenario a file, and the rules around them."""

import copy
import pathlib
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

from cluster.api import resources
from cluster.machinery import field_sets, managed_fields, merge_patch
from cluster.machinery.status_errors import ApiError, BadRequest, Conflict

SCENARIOS = sorted((pathlib.Path(__file__).parents[2] / "scenarios/machinery/apply").glob("*.yaml"))
CONFIG_MAPS = resources.CONFIG_MAPS
NOW = "2026-01-02T03:04:05Z"


def owners(obj: dict[str, Any]) -> dict[str, list[str]]:
    entries = managed_fields.decode_entries(obj["metadata"].get("managedFields"))
    return {entry.manager: sorted(field_sets.paths(entry.fields)) for entry in entries}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_apply(path: pathlib.Path) -> None:
    case = yaml.safe_load(path.read_text())
    resource = resources.named(case["resource"])
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    live = {**kind, **case["live"]} if "live" in case else None

    for step in case["steps"]:
        if "update" in step:
            assert live is not None
            changed = merge_patch.apply(copy.deepcopy(live), step["update"])
            managed_fields.on_update(resource, live, changed, step["manager"], NOW)
            live = changed
        elif "conflict" in step:
            with pytest.raises(Conflict) as refused:
                managed_fields.apply(resource, live, {**kind, **step["apply"]}, step["manager"], False, NOW)
            assert refused.value.message == step["conflict"]
            continue
        else:
            force = step.get("force", False)
            live = managed_fields.apply(resource, live, {**kind, **step["apply"]}, step["manager"], force, NOW)
        if "object" in step:
            bare = copy.deepcopy(live)
            bare["metadata"].pop("managedFields", None)
            assert bare == {**kind, **step["object"]}
        for manager, fields in step.get("owns", {}).items():
            assert owners(live)[manager] == sorted(fields)
        if step.get("owns") == {}:
            assert owners(live) == {}


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "uid": "u"}, "data": data}


def test_creator_owns_what_it_wrote_and_nothing_the_server_adds() -> None:
    created = config_map(k="v")
    managed_fields.on_update(CONFIG_MAPS, None, created, "kubectl-create", NOW)

    assert created["metadata"]["managedFields"] == [
        {
            "manager": "kubectl-create",
            "operation": "Update",
            "apiVersion": "v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {".": {}, "f:k": {}}},
        }
    ]


def test_structs_of_gos_zero_value_are_no_ones_work() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment = {"spec": {"template": copy.deepcopy(template)}, "metadata": {}}
    controller = {"spec": {"template": template}, "metadata": {}}
    managed_fields.on_update(resources.DEPLOYMENTS, None, deployment, "m", NOW)
    managed_fields.on_update(resources.named("replicationcontrollers"), None, controller, "m", NOW)

    def template_of(obj: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = obj["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]
        return found

    assert "." not in template_of(deployment)
    assert "." in template_of(controller)
    assert "." in template_of(controller)["f:spec"]["f:containers"]


def test_update_that_changes_nothing_changes_no_entry() -> None:
    live = config_map(k="v")
    managed_fields.on_update(CONFIG_MAPS, None, live, "a", NOW)
    again = copy.deepcopy(live)
    managed_fields.on_update(CONFIG_MAPS, live, again, "b", "2027-01-01T00:00:00Z")

    assert again == live


def test_last_owner_of_nothing_disappears() -> None:
    live = config_map(k="v")
    managed_fields.on_update(CONFIG_MAPS, None, live, "a", NOW)
    emptied = copy.deepcopy(live)
    del emptied["data"]
    managed_fields.on_update(CONFIG_MAPS, live, emptied, "b", NOW)

    assert "managedFields" not in emptied["metadata"]


def test_object_that_was_never_tracked_stays_untracked_by_updates() -> None:
    live, changed = config_map(k="v"), config_map(k="w")
    managed_fields.on_update(CONFIG_MAPS, live, changed, "a", NOW)

    assert "managedFields" not in changed["metadata"]


@pytest.mark.parametrize("reset", [[], [{}]])
def test_client_may_reset_ownership(reset: list[Any]) -> None:
    live = config_map(k="v")
    managed_fields.on_update(CONFIG_MAPS, None, live, "a", NOW)
    changed = copy.deepcopy(live)
    changed["metadata"]["managedFields"] = reset
    managed_fields.on_update(CONFIG_MAPS, live, changed, "b", NOW)

    assert "managedFields" not in changed["metadata"]


@pytest.mark.parametrize("garbage", [None, [{"operation": "Odd"}], "text", [{"operation": "Update", "fieldsV1": 5}]])
def test_client_that_forgets_or_breaks_ownership_does_not_change_it(garbage: Any) -> None:
    live = config_map(k="v")
    managed_fields.on_update(CONFIG_MAPS, None, live, "a", NOW)
    changed = copy.deepcopy(live)
    changed["metadata"]["managedFields"] = garbage
    managed_fields.on_update(CONFIG_MAPS, live, changed, "b", NOW)

    assert owners(changed) == {"a": [".data", ".data.k"]}


def test_status_belongs_to_the_status_door_only() -> None:
    live: dict[str, Any] = {"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "n"}, "status": {}}
    managed_fields.on_update(resources.PODS, None, live, "a", NOW)
    by_front, by_status = copy.deepcopy(live), copy.deepcopy(live)
    for obj in (by_front, by_status):
        obj["status"] = {"phase": "Running"}
        obj["spec"]["nodeName"] = "other"
    managed_fields.on_update(resources.PODS, live, by_front, "kubelet", NOW)
    managed_fields.on_update(resources.PODS, live, by_status, "kubelet", NOW, "status")

    assert owners(by_front)["kubelet"] == [".spec.nodeName"]
    assert owners(by_status)["kubelet"] == [".status.phase"]
    assert by_status["metadata"]["managedFields"][1]["subresource"] == "status"


def test_old_updaters_become_one_entry() -> None:
    live = config_map(k="0")
    managed_fields.on_update(CONFIG_MAPS, None, live, "m0", "2026-01-01T00:00:00Z")
    for number in range(1, 15):
        changed = copy.deepcopy(live)
        changed["data"][f"k{number}"] = "v"
        managed_fields.on_update(CONFIG_MAPS, live, changed, f"m{number}", f"2026-01-{number + 1:02d}T00:00:00Z")
        live = changed

    entries = live["metadata"]["managedFields"]
    assert len(entries) == managed_fields.UPDATER_LIMIT
    assert ".data.k1" in owners(live)[managed_fields.ANCIENT]
    assert owners(live)["m14"] == [".data.k14"]


@pytest.mark.parametrize(
    ("applied", "why"),
    [
        ({"metadata": {"managedFields": []}}, "metadata.managedFields must be nil"),
        ({"kind": "Secret"}, "invalid object type: v1, Kind=Secret"),
        ({"apiVersion": "v2"}, "Incorrect version specified in apply patch"),
    ],
)
def test_configuration_for_something_else_is_refused(applied: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        managed_fields.apply(CONFIG_MAPS, None, {**config_map(), **applied}, "a", False, NOW)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"bogus": 1}, ".spec.bogus: field not declared in schema"),
        ({"replicas": "x"}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"paused": "x"}, '.spec.paused: expected boolean, got "x"'),
        ({"template": []}, ".spec.template: expected map, got []interface {}"),
        (
            {"template": {"spec": {"containers": [{"name": "c"}, {"name": "c"}]}}},
            '.spec.template.spec.containers: duplicate entries for key [name="c"]',
        ),
        ({"a": 1, "b": 2}, "errors:\n  .spec.a: field not declared in schema\n  .spec.b: field not declared in schema"),
    ],
)
def test_configuration_that_does_not_fit_the_schema_is_refused(spec: dict[str, Any], why: str) -> None:
    applied = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}

    with pytest.raises(ApiError) as refused:
        managed_fields.apply(resources.DEPLOYMENTS, None, applied, "a", True, NOW)

    assert refused.value.message == f"failed to create typed patch object (/d; apps/v1, Kind=Deployment): {why}"
    assert refused.value.http_code == 500


@pytest.mark.parametrize("metadata", ["x", 1, [], True])
def test_metadata_that_is_no_map_is_refused(metadata: Any) -> None:
    with pytest.raises(ApiError, match=r"\.metadata: expected map"):
        managed_fields.apply(CONFIG_MAPS, None, config_map() | {"metadata": metadata}, "a", True, NOW)


def test_applying_the_same_again_changes_nothing() -> None:
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}}
    once = managed_fields.apply(CONFIG_MAPS, None, applied, "a", False, NOW)

    assert managed_fields.apply(CONFIG_MAPS, once, applied, "a", False, "2027-01-01T00:00:00Z") == once


NODES: st.SearchStrategy[Any] = st.recursive(
    st.just({}),
    lambda inner: st.builds(
        lambda below, member: {**below, **member},
        st.dictionaries(st.sampled_from(["f:a", "f:b", 'k:{"n":1}', 'v:"x"']), inner, min_size=1, max_size=3),
        st.sampled_from([{}, {".": {}}]),
    ),
    max_leaves=8,
)


def flat(fields: dict[str, Any]) -> set[str]:
    return set(field_sets.paths(fields))


SETS = st.dictionaries(st.sampled_from(["f:a", "f:b"]), NODES, max_size=2)


@given(SETS, SETS)
def test_field_sets_are_sets(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert flat(field_sets.union(left, right)) == flat(left) | flat(right)
    assert flat(field_sets.difference(left, right)) == flat(left) - flat(right)
    assert flat(field_sets.intersection(left, right)) == flat(left) & flat(right)
    assert flat(field_sets.without_prefixes(left, right)) == {
        path for path in flat(left) if not any(path.startswith(prefix) for prefix in flat(right))
    }
    assert field_sets.parse(field_sets.encode(left)) == left


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"])),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"])),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"])),
)
def test_forced_apply_always_wins_and_takes_back_only_its_own(
    first: dict[str, str], theirs: dict[str, str], second: dict[str, str]
) -> None:
    def applied(data: dict[str, str]) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}

    live = managed_fields.apply(CONFIG_MAPS, None, applied(first), "a", True, NOW)
    live = managed_fields.apply(CONFIG_MAPS, live, applied(theirs), "b", True, NOW)
    live = managed_fields.apply(CONFIG_MAPS, live, applied(second), "a", True, NOW)

    assert (live.get("data") or {}) == {**theirs, **second}


@given(st.text(max_size=6))
def test_items_have_the_key_that_json_gives_them(name: str) -> None:
    containers = resources.PODS.shape.child("spec").child("containers")
    item = {"name": name}

    assert field_sets.items_by_key(containers, [item]) == {field_sets.item_key(containers, item): item}

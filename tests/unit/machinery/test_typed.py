"""Bodies become what Go would hold: wrong types refused in Go's words, the rest canonical."""

import copy
from typing import Any

import pytest
from hypothesis import given, strategies as st

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.api.schema import Undecodable, schemas
from cluster.machinery.status_errors import BadRequest


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], **spec}}


def refusal(resource: Resource, obj: dict[str, Any]) -> str:
    with pytest.raises(BadRequest) as refused:
        schemas().normalize(resource, obj)
    return refused.value.message


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"hostNetwork": "yes"}, "cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        (
            {"containers": ["x"]},
            "cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        (
            {"containers": {}},
            "cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            {"containers": [{"name": "c", "image": 1}]},
            "cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        ),
        (
            {"containers": [{"name": "c", "args": [True]}]},
            "cannot unmarshal bool into Go struct field Container.spec.containers.args of type string",
        ),
        (
            {"nodeSelector": {"a": 1}},
            "cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector of type string",
        ),
        ({"nodeSelector": []}, "array into Go struct field PodSpec.spec.nodeSelector of type map[string]string"),
        ({"priority": 1.5}, "cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        ({"priority": 2**31}, "number 2147483648 into Go struct field PodSpec.spec.priority of type int32"),
        ({"priority": True}, "cannot unmarshal bool into Go struct field PodSpec.spec.priority of type int32"),
        ({"overhead": {"cpu": "1x"}}, "quantities must match the regular expression"),
        ({"overhead": {"cpu": True}}, "quantities must match the regular expression"),
    ],
)
def test_wrong_type_is_told_as_go_tells_it(spec: dict[str, Any], why: str) -> None:
    message = refusal(resources.PODS, pod(**spec))

    assert message.startswith('Pod in version "v1" cannot be handled as a Pod: ')
    assert why in message


def test_wrong_metadata_names_the_metadata_type() -> None:
    assert refusal(resources.CONFIG_MAPS, {"metadata": {"name": True}}).endswith(
        "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.name of type string"
    )


@pytest.mark.parametrize(("data", "byte"), [("v", 0), ("a===", 1), ("YWJj!A==", 4), ("YWJjZA", 4), ("YQ=a", 3)])
def test_wrong_base64_names_its_byte(data: str, byte: int) -> None:
    message = refusal(resources.SECRETS, {"metadata": {"name": "s"}, "data": {"k": data}})

    assert message.endswith(f"illegal base64 data at input byte {byte}")


def test_wrong_time_is_refused() -> None:
    assert 'parsing time "yesterday"' in refusal(resources.PODS, pod() | {"status": {"startTime": "yesterday"}})


def test_kind_of_another_resource_is_refused_after_it_was_read() -> None:
    assert refusal(resources.CONFIG_MAPS, {"apiVersion": "v1", "kind": "Secret", "data": {"k": "v"}}) == (
        'Secret in version "v1" cannot be handled as a ConfigMap: illegal base64 data at input byte 0'
    )
    assert refusal(resources.CONFIG_MAPS, {"apiVersion": "v1", "kind": "Secret"}) == (
        'Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): '
        "unknown conversion"
    )


def test_unknown_version_is_refused() -> None:
    assert refusal(resources.CONFIG_MAPS, {"apiVersion": "v2", "kind": "ConfigMap"}) == (
        'ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for '
        'version "v2" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    )


def test_other_version_of_the_same_kind_is_refused() -> None:
    scaler = resources.by_path("autoscaling", "v2", "horizontalpodautoscalers")
    assert scaler is not None

    assert refusal(scaler, {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler"}) == (
        "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
    )


def test_cause_is_kept_apart_for_patches() -> None:
    with pytest.raises(Undecodable) as refused:
        schemas().normalize(resources.PODS, pod(hostNetwork="yes"))

    assert refused.value.cause.startswith("json: cannot unmarshal string")


def test_missing_type_is_filled_in() -> None:
    obj: dict[str, Any] = {"metadata": {"name": "m"}}
    schemas().normalize(resources.CONFIG_MAPS, obj)

    assert (obj["apiVersion"], obj["kind"]) == ("v1", "ConfigMap")


def test_unknown_fields_are_dropped_and_named() -> None:
    obj = pod(containers=[{"name": "c", "odd": 1, "ports": [{"containerPort": 1, "x": {}}]}], bogus={"deep": 1})

    assert schemas().normalize(resources.PODS, obj) == [
        'unknown field "spec.containers[0].odd"',
        'unknown field "spec.containers[0].ports[0].x"',
        'unknown field "spec.bogus"',
    ]
    assert "bogus" not in obj["spec"]


def test_empty_values_and_nulls_are_dropped_unless_they_mean_something() -> None:
    obj: dict[str, Any] = {
        "metadata": {"name": "d", "labels": {}, "annotations": None, "generateName": ""},
        "spec": {
            "replicas": 0,
            "paused": False,
            "minReadySeconds": 0,
            "template": {"spec": {"securityContext": {}, "volumes": [{"name": "v", "emptyDir": {}}], "hostname": ""}},
        },
    }
    schemas().normalize(resources.DEPLOYMENTS, obj)

    assert obj["metadata"] == {"name": "d"}
    assert "paused" not in obj["spec"]
    assert obj["spec"]["replicas"] == 0
    assert obj["spec"]["template"]["spec"]["securityContext"] == {}
    assert obj["spec"]["template"]["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


def test_structs_are_written_even_when_empty() -> None:
    obj: dict[str, Any] = {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}
    schemas().normalize(resources.DEPLOYMENTS, obj)

    assert obj["status"] == {}
    assert obj["spec"]["strategy"] == {}
    assert obj["spec"]["template"]["metadata"] == {}
    assert obj["spec"]["template"]["spec"]["containers"][0]["resources"] == {}


def test_texts_become_canonical() -> None:
    obj = pod(containers=[{"name": "c", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}])
    obj["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05.9+01:00"
    schemas().normalize(resources.PODS, obj)

    assert obj["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    assert obj["metadata"]["creationTimestamp"] == "2026-01-02T02:04:05Z"


def test_embedded_schema_of_a_crd_may_be_a_boolean_or_a_schema() -> None:
    crds = resources.named("customresourcedefinitions.apiextensions.k8s.io")
    props = {
        "type": "object",
        "additionalProperties": True,
        "properties": {"a": {"type": "array", "items": {"type": "string", "odd": 1}, "default": {"x": None}}},
    }
    obj = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": props}}]}}

    assert schemas().normalize(crds, obj) == [
        'unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.items.odd"'
    ]
    assert obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["additionalProperties"] is True  # type: ignore[index]


FIELD_NAMES = st.sampled_from(["spec", "metadata", "containers", "name", "ports", "template", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["spec", "metadata", "containers", "name", "ports", "template", "x"]), inner, max_size=4
        )
    ),
    max_leaves=15,
)


@given(st.sampled_from(resources.ALL), st.dictionaries(st.sampled_from(["spec", "metadata", "status", "data"]), JSON))
def test_any_body_is_normalized_once_for_all_or_refused(resource: Resource, obj: dict[str, Any]) -> None:
    try:
        schemas().normalize(resource, obj)
    except BadRequest:
        return
    once = copy.deepcopy(obj)

    assert schemas().normalize(resource, obj) == []
    assert obj == once


def test_custom_resource_keeps_wrong_types_for_validation_and_drops_unknown_fields() -> None:
    ship = resources.Resource("g.example.com", "v1", "ships", "Ship", namespaced=True)
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "crew": {"type": "integer"},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "open": {"type": "object", "additionalProperties": True},
                    "inner": {
                        "type": "object",
                        "x-kubernetes-embedded-resource": True,
                        "properties": {"spec": {"type": "object"}},
                    },
                    "masts": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
                },
            }
        },
    }
    schemas().add_custom("g.example.com/v1", "Ship", schema)
    try:
        inner = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "i", "odd": 1}, "spec": {"odd": 1}}
        spec = {
            "crew": "many",
            "odd": 1,
            "free": {"any": [None]},
            "open": {"a": {"b": 1}},
            "inner": inner,
            "masts": [{"n": "a", "h": 1}],
        }
        obj = {"metadata": {"name": "s", "odd": 1}, "spec": spec}
        faults = schemas().normalize(ship, obj)
    finally:
        schemas().remove_custom("g.example.com/v1", "Ship")

    assert faults == [
        f'unknown field "{path}"'
        for path in ("metadata.odd", "spec.odd", "spec.inner.metadata.odd", "spec.inner.spec.odd", "spec.masts[0].h")
    ]
    assert obj["spec"] == {
        "crew": "many",
        "free": {"any": [None]},
        "open": {"a": {"b": 1}},
        "inner": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "i"}, "spec": {}},
        "masts": [{"n": "a"}],
    }
    assert not schemas().is_known("g.example.com/v1", "Ship")
